// The service over a real port: who is let in, blobs, jobs, and what is refused.

#include "absl/strings/str_cat.h"
#include "comms/rpc/channel.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/coordinator/client.h"

namespace atl::coordinator {
namespace {

using testing::HasSubstr;

class ServiceTest : public testing::Test {
 protected:
  ServiceTest()
      : folder_(TemporaryFolder::Create("coordinator").value()),
        coordinator_(std::make_unique<TestCoordinator>(folder_.path())),
        stub_(coordinator_->Stub()) {}

  void Restart() {
    stub_.reset();
    coordinator_.reset();
    coordinator_ = std::make_unique<TestCoordinator>(folder_.path());
    stub_ = coordinator_->Stub();
  }

  grpc::Status Refusal(uint32_t site, const std::function<void(v1::Hello&)>& change) {
    TestStream stream(*stub_);
    stream.Greet(site, change);
    EXPECT_FALSE(stream.Read().has_value());
    return stream.Finish();
  }

  grpc::Status Submit(const std::string& recipe, const std::string& model, uint64_t parameters,
                      uint64_t* job) {
    grpc::ClientContext context;
    v1::SubmitRequest request;
    request.set_recipe_yaml(recipe);
    request.set_first_model(model);
    request.set_parameters(parameters);
    v1::SubmitReply reply;
    const grpc::Status status = stub_->SubmitJob(&context, request, &reply);
    *job = reply.job_id();
    return status;
  }

  v1::JobReport Get(uint64_t job) {
    grpc::ClientContext context;
    v1::GetJobRequest request;
    request.set_job_id(job);
    v1::JobReport report;
    EXPECT_TRUE(stub_->GetJob(&context, request, &report).ok());
    return report;
  }

  grpc::Status Cancel(uint64_t job) {
    grpc::ClientContext context;
    v1::CancelRequest request;
    request.set_job_id(job);
    request.set_reason("not needed");
    v1::CancelReply reply;
    return stub_->CancelJob(&context, request, &reply);
  }

  std::vector<v1::JobEvent> WatchToTheEnd(uint64_t job, uint64_t after = 0) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(20));
    v1::WatchRequest request;
    request.set_job_id(job);
    request.set_after_event(after);
    auto reader = stub_->WatchJob(&context, request);
    std::vector<v1::JobEvent> events;
    v1::JobEvent event;
    while (reader->Read(&event)) events.push_back(event);
    const grpc::Status status = reader->Finish();
    EXPECT_TRUE(status.ok()) << status.error_message();
    return events;
  }

  v1::ListJobsReply List() {
    grpc::ClientContext context;
    v1::ListJobsReply reply;
    EXPECT_TRUE(stub_->ListJobs(&context, {}, &reply).ok());
    return reply;
  }

  const std::string recipe_ =
      "name: small\nrun: atoll run task.yaml\nparameters: {site: {count: 3}, federation: {cohort: "
      "{min: 3}}}\n";
  TemporaryFolder folder_;
  std::unique_ptr<TestCoordinator> coordinator_;
  std::unique_ptr<v1::Coordinator::Stub> stub_;
};

TEST_F(ServiceTest, HelloIsChecked) {
  grpc::Status status = Refusal(1, [](v1::Hello& hello) { hello.mutable_signature()->at(5) ^= 1; });
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAUTHENTICATED);
  EXPECT_THAT(status.error_message(), HasSubstr("site 1"));
  // Site 1 in the name of site 2.
  status = Refusal(1, [](v1::Hello& hello) { hello.set_site_id(2); });
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAUTHENTICATED);
  status = Refusal(1, [](v1::Hello& hello) { hello.clear_signature(); });
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAUTHENTICATED);
  status = Refusal(7, nullptr);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::PERMISSION_DENIED);
  EXPECT_THAT(status.error_message(), HasSubstr("site 7 is not in this coordinator's roster"));
  status = Refusal(1, [](v1::Hello& hello) { hello.set_protocol_version(99); });
  EXPECT_EQ(status.error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_THAT(status.error_message(), HasSubstr("99"));
  status = Refusal(1, [](v1::Hello& hello) { hello.set_cpus(-1); });
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
}

TEST_F(ServiceTest, AnythingButAHelloEndsTheStream) {
  TestStream stream(*stub_);
  ASSERT_TRUE(stream.Read()->has_challenge());
  stream.Accept(1);
  EXPECT_FALSE(stream.Read().has_value());
  EXPECT_EQ(stream.Finish().error_code(), grpc::StatusCode::INVALID_ARGUMENT);
}

TEST_F(ServiceTest, ASecondStreamReplacesTheFirst) {
  TestStream first(*stub_);
  first.Greet(1);
  ASSERT_TRUE(first.Read()->has_welcome());
  TestStream second(*stub_);
  second.Greet(1);
  ASSERT_TRUE(second.Read()->has_welcome());
  EXPECT_FALSE(first.Read().has_value());
  EXPECT_FALSE(first.Finish().ok());
  // The end of the first is not the end of the site.
  v1::ListJobsReply list = List();
  for (int i = 0; i < 100 && !list.sites(0).connected(); ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    list = List();
  }
  std::this_thread::sleep_for(std::chrono::milliseconds(100));
  list = List();
  ASSERT_EQ(list.sites_size(), 3);
  EXPECT_TRUE(list.sites(0).connected());
  EXPECT_FALSE(list.sites(1).connected());
}

TEST_F(ServiceTest, OneEvaluatorWithoutIdentity) {
  TestStream evaluator(*stub_);
  evaluator.Greet(0);
  ASSERT_TRUE(evaluator.Read()->has_welcome());
  EXPECT_EQ(Refusal(0, nullptr).error_code(), grpc::StatusCode::ALREADY_EXISTS);
  // It takes no part in the protocol.
  evaluator.SendStep(1, 1, v1::READY, {1});
  EXPECT_FALSE(evaluator.Read().has_value());
  EXPECT_EQ(evaluator.Finish().error_code(), grpc::StatusCode::PERMISSION_DENIED);
}

TEST_F(ServiceTest, BlobsComeAndGo) {
  const uint64_t parameters = 300'000;  // two chunks
  const std::string blob = UploadZeros(*stub_, parameters);
  ASSERT_EQ(blob.size(), 32u);
  EXPECT_EQ(Download(*stub_, blob), std::string(4 * parameters, '\0'));
  // From the second chunk on.
  grpc::ClientContext context;
  v1::DownloadRequest request;
  request.set_blob(blob);
  request.set_first_chunk(1);
  auto reader = stub_->DownloadBlob(&context, request);
  v1::BlobChunk chunk;
  ASSERT_TRUE(reader->Read(&chunk));
  EXPECT_EQ(chunk.index(), 1u);
  EXPECT_EQ(chunk.chunk_count(), 2u);
  EXPECT_EQ(chunk.chunk_digests_size(), 2);
  EXPECT_EQ(chunk.data().size(), 4 * parameters - rpc::kBlobChunkBytes);
  EXPECT_FALSE(reader->Read(&chunk));
  EXPECT_TRUE(reader->Finish().ok());
}

TEST_F(ServiceTest, BlobsThatAreRefused) {
  const auto upload = [&](uint64_t bytes, const std::vector<std::string>& chunks) {
    grpc::ClientContext context;
    v1::BlobUploaded reply;
    auto writer = stub_->UploadBlob(&context, &reply);
    v1::BlobUpload message;
    message.set_bytes(bytes);
    for (const std::string& chunk : chunks) {
      message.set_data(chunk);
      if (!writer->Write(message)) break;
    }
    writer->WritesDone();
    return writer->Finish();
  };
  EXPECT_EQ(upload(0, {"x"}).error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  const grpc::Status oversized = upload(kMaxBlobBytes + 1, {"x"});
  EXPECT_EQ(oversized.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(oversized.error_message(), HasSubstr("8589934593"));
  EXPECT_EQ(upload(10, {"12345"}).error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(upload(4, {"12345"}).error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(upload(5, {"12345", "6"}).error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(upload(2 << 20, {std::string(1 << 20, 'x')}).error_code(),
            grpc::StatusCode::INVALID_ARGUMENT);

  const auto download = [&](const std::string& blob, uint32_t first) {
    grpc::ClientContext context;
    v1::DownloadRequest request;
    request.set_blob(blob);
    request.set_first_chunk(first);
    auto reader = stub_->DownloadBlob(&context, request);
    v1::BlobChunk chunk;
    while (reader->Read(&chunk)) {
    }
    return reader->Finish().error_code();
  };
  EXPECT_EQ(download("short", 0), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(download(std::string(32, 'x'), 0), grpc::StatusCode::NOT_FOUND);
  EXPECT_EQ(download(UploadZeros(*stub_, 10), 1), grpc::StatusCode::OUT_OF_RANGE);
}

TEST_F(ServiceTest, SubmissionsAreChecked) {
  const std::string model = UploadZeros(*stub_, 10);
  uint64_t job = 0;
  EXPECT_EQ(Submit("parameters: {site: {cuont: 3}}", model, 10, &job).error_code(),
            grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(Submit(recipe_, model, 11, &job).error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(Submit(recipe_, model, 0, &job).error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(Submit(recipe_, "no name", 10, &job).error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(Submit(recipe_, std::string(32, 'x'), 10, &job).error_code(),
            grpc::StatusCode::NOT_FOUND);
  const grpc::Status small =
      Submit("name: x\nrun: y\nparameters: {site: {count: 2}, federation: {cohort: {min: 3}}}\n",
             model, 10, &job);
  EXPECT_EQ(small.error_code(), grpc::StatusCode::INVALID_ARGUMENT) << small.error_message();
  EXPECT_EQ(List().jobs_size(), 0);
}

TEST_F(ServiceTest, JobsAreQueuedListedWatchedAndCancelled) {
  const std::string model = UploadZeros(*stub_, 10);
  uint64_t job = 0;
  const grpc::Status status = Submit(recipe_, model, 10, &job);
  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(job, 1u);
  EXPECT_EQ(Get(job).status(), v1::QUEUED);
  EXPECT_EQ(List().jobs_size(), 1);
  std::thread canceller([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(300));
    EXPECT_TRUE(Cancel(job).ok());
  });
  const std::vector<v1::JobEvent> events = WatchToTheEnd(job);
  canceller.join();
  ASSERT_GE(events.size(), 2u);
  EXPECT_THAT(events.front().status().reason(), HasSubstr("waits for 3 sites"));
  EXPECT_EQ(events.back().status().status(), v1::CANCELLED);
  EXPECT_EQ(events.back().status().reason(), "not needed");
  for (size_t i = 1; i < events.size(); ++i) EXPECT_GT(events[i].id(), events[i - 1].id());
  // From the middle, and from the end.
  EXPECT_EQ(WatchToTheEnd(job, events.front().id()).size(), events.size() - 1);
  EXPECT_EQ(WatchToTheEnd(job, events.back().id()).size(), 0u);
  EXPECT_EQ(Cancel(job).error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_EQ(Cancel(99).error_code(), grpc::StatusCode::NOT_FOUND);
}

TEST_F(ServiceTest, ARestartKeepsWhatThereWas) {
  const std::string model = UploadZeros(*stub_, 10);
  uint64_t first = 0, second = 0, third = 0;
  ASSERT_TRUE(Submit(recipe_, model, 10, &first).ok());
  ASSERT_TRUE(Submit(recipe_, model, 10, &second).ok());
  ASSERT_TRUE(Cancel(first).ok());
  for (int i = 0; i < 2; ++i) {
    Restart();
    EXPECT_EQ(Get(first).status(), v1::CANCELLED);
    EXPECT_EQ(Get(first).reason(), "not needed");
    EXPECT_EQ(Get(second).status(), v1::QUEUED);
    EXPECT_EQ(WatchToTheEnd(first).back().status().status(), v1::CANCELLED);
  }
  ASSERT_TRUE(Submit(recipe_, model, 10, &third).ok());
  EXPECT_EQ(third, 3u);
  // Queued jobs start when their sites come.
  TestStream sites[3] = {TestStream(*stub_), TestStream(*stub_), TestStream(*stub_)};
  for (uint32_t i = 0; i < 3; ++i) sites[i].Greet(i + 1);
  for (TestStream& site : sites) {
    ASSERT_TRUE(site.Read()->has_welcome());
    EXPECT_EQ(site.Read()->offer().job_id(), second);
  }
}

TEST_F(ServiceTest, APortOrAFolderInUseIsRefused) {
  const auto again = Server::Listen(coordinator_->address(), coordinator_->service());
  ASSERT_EQ(again.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(again.status().message()), HasSubstr(coordinator_->address()));
  EXPECT_THAT(std::string(again.status().message()), HasSubstr("in use"));
  EXPECT_EQ(Server::Listen("0.0.0.0:0", coordinator_->service()).status().code(),
            absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(store::OpenEventLog(folder_.path()).status().code(),
            absl::StatusCode::kFailedPrecondition);
}

}  // namespace
}  // namespace atl::coordinator
