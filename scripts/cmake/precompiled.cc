// Nothing: the targets made of it hold a precompiled header (AtollTargets.cmake).
