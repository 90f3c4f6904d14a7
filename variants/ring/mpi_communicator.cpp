#include "variants/ring/mpi_communicator.h"

#ifdef LONGATTN_MPI

#include <fmt/format.h>
#include <mpi.h>

#include <algorithm>
#include <array>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>
#include <utility>

namespace longattn {
namespace {

using Clock = std::chrono::steady_clock;
constexpr auto kLongestPause = std::chrono::microseconds(500);
constexpr auto kIdlePause = std::chrono::milliseconds(5);  // then only an abort can come
constexpr auto kFarewell = std::chrono::seconds(1);        // for the reason of a failure to spread
constexpr size_t kReasonBytes = 1024;

std::string error_text(int code) {
  char text[MPI_MAX_ERROR_STRING];
  int length = 0;
  MPI_Error_string(code, text, &length);
  return {text, static_cast<size_t>(length)};
}

// Two kinds of messages: a receiver's word that it is ready, and the bytes.
int ready_tag(int tag) { return 2 * tag; }
int bytes_tag(int tag) { return 2 * tag + 1; }

struct Transfer {
  Envelope envelope;
  bool sends = false;
  std::byte* data = nullptr;
  Index bytes = 0;
  // Of the progress thread alone:
  Index ready = 0;     // what the receiver says it expects
  bool asked = false;  // the sender has had the receiver's word
  std::vector<MPI_Request> requests;
  std::vector<Index> sizes;  // of their messages; 0 of a receiver's word
  // Under the lock:
  Index moved = 0;
  bool used = false, complete = false;

  int peer() const { return sends ? envelope.destination : envelope.source; }
};

class MpiCommunicator final : public Communicator {
 public:
  explicit MpiCommunicator(Index chunk_bytes) : chunk_bytes_(chunk_bytes) {
    thread_ = std::jthread([this] { run(); });
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return size_ > 0 || failed_; });
    if (failed_) throw CommunicatorError(reason_);
  }
  ~MpiCommunicator() override {
    {
      const std::lock_guard lock(mutex_);
      for (const Transfer& transfer : transfers_) {
        if (transfer.used) fail(left_behind(rank_, transfer.envelope));
      }
      stopping_ = true;
      wake_.notify_all();
    }
    thread_.join();
  }

  int rank() const override { return rank_; }
  int size() const override { return size_; }
  Index bytes_sent() const override { return bytes_sent_; }

  std::string pending() const override {
    const std::lock_guard lock(mutex_);
    std::string all;
    for (const Transfer& transfer : transfers_) {
      if (!transfer.used || transfer.complete) continue;
      all += "; " + progress_of(transfer.envelope, transfer.moved, transfer.bytes);
    }
    return all;
  }

  Request isend(std::span<const std::byte> message, int destination, int tag) override {
    const auto bytes = static_cast<Index>(message.size());
    // MPI does not write to what it sends.
    const Request request =
        start(true, const_cast<std::byte*>(message.data()), bytes, {rank_, destination, tag});
    bytes_sent_ += bytes;
    return request;
  }
  Request irecv(std::span<std::byte> buffer, int source, int tag) override {
    return start(false, buffer.data(), static_cast<Index>(buffer.size()), {source, rank_, tag});
  }

  void wait(Request& request, Deadline deadline) override {
    if (!request.active()) return;
    std::unique_lock lock(mutex_);
    Transfer& transfer = transfers_[static_cast<size_t>(request.id)];
    request.id = -1;
    const bool in_time =
        changed_.wait_until(lock, deadline, [&] { return transfer.complete || failed_; });
    if (!transfer.complete) {
      if (!in_time) fail(overdue(rank_, transfer.envelope, transfer.moved, transfer.bytes));
      await_silence(lock);
      transfer.used = false;
      throw CommunicatorError(reason_);
    }
    transfer.used = false;
  }

  void abort(std::string_view reason) noexcept override {
    std::unique_lock lock(mutex_);
    try {
      fail(std::string(reason));
    } catch (const std::bad_alloc&) {  // then without a reason
      failed_ = true;
      wake_.notify_all();
    }
    await_silence(lock);
  }

 private:
  // Until the others know, and until MPI writes to no buffer any more.
  void await_silence(std::unique_lock<std::mutex>& lock) {
    changed_.wait_for(lock, 2 * kFarewell, [&] { return silent_; });
  }

  // With the lock held.
  void fail(const std::string& reason) {
    if (!failed_) reason_ = reason;
    failed_ = true;
    wake_.notify_all();
    changed_.notify_all();
  }

  Request start(bool sends, std::byte* data, Index bytes, const Envelope& envelope) {
    const std::lock_guard lock(mutex_);
    if (failed_) throw CommunicatorError(reason_);
    auto unused = std::ranges::find(transfers_, false, &Transfer::used);
    if (unused == transfers_.end()) unused = transfers_.emplace(transfers_.end());
    *unused = {};
    unused->envelope = envelope;
    unused->sends = sends;
    unused->data = data;
    unused->bytes = bytes;
    unused->used = true;
    started_.push_back(&*unused);
    wake_.notify_all();
    return {unused - transfers_.begin()};
  }

  // ---- What follows runs in the thread that makes the MPI calls. ----

  void run() {
    try {
      begin();
      for (bool going = true; going;) going = turn();
    } catch (const std::exception& e) {
      const std::lock_guard lock(mutex_);
      fail(e.what());
    }
    if (has_failed()) {
      spread();
    } else {
      end();
    }
    const std::lock_guard lock(mutex_);
    silent_ = true;
    changed_.notify_all();
  }

  bool has_failed() {
    const std::lock_guard lock(mutex_);
    return failed_;
  }

  void require(int code, const Transfer* transfer = nullptr) const {
    if (code == MPI_SUCCESS) return;
    throw CommunicatorError(fmt::format(
        "rank {}: MPI{}: {}", rank_,
        transfer == nullptr ? ""
                            : fmt::format(", message {} {} rank {}", transfer->envelope.tag,
                                          transfer->sends ? "to" : "from", transfer->peer()),
        error_text(code)));
  }

  void begin() {
    int given = MPI_THREAD_SINGLE;
    require(MPI_Init_thread(nullptr, nullptr, MPI_THREAD_FUNNELED, &given));
    if (given < MPI_THREAD_FUNNELED) throw CommunicatorError("this MPI takes no threads");
    // Ours alone, so that no message of anyone else is taken for one of ours.
    require(MPI_Comm_dup(MPI_COMM_WORLD, &bytes_));
    require(MPI_Comm_dup(MPI_COMM_WORLD, &reasons_));
    for (MPI_Comm comm : {bytes_, reasons_}) {
      require(MPI_Comm_set_errhandler(comm, MPI_ERRORS_RETURN));
    }
    listen();
    int rank = 0, size = 0;
    MPI_Comm_rank(bytes_, &rank);
    MPI_Comm_size(bytes_, &size);
    const std::lock_guard lock(mutex_);
    rank_ = rank;
    size_ = size;
    changed_.notify_all();
  }

  void listen() {
    require(MPI_Irecv(heard_.data(), static_cast<int>(heard_.size()), MPI_CHAR, MPI_ANY_SOURCE, 0,
                      reasons_, &hearing_));
  }

  // Starts what is new, looks after what is under way, and pauses; false at the end.
  bool turn() {
    std::vector<Transfer*> fresh;
    {
      std::unique_lock lock(mutex_);
      if (!moved_ && started_.empty() && !stopping_ && !failed_) {
        pause_ = active_.empty() ? std::chrono::microseconds(kIdlePause)
                                 : std::min<std::chrono::microseconds>(
                                       2 * pause_ + std::chrono::microseconds(5), kLongestPause);
        wake_.wait_for(lock, pause_);
      }
      if (moved_ || !started_.empty()) pause_ = {};
      if (failed_ || stopping_) return false;
      fresh.swap(started_);
    }
    for (Transfer* transfer : fresh) {
      transfer->sends ? await_ready(*transfer) : receive(*transfer);
      active_.push_back(transfer);
    }
    moved_ = !fresh.empty();
    std::erase_if(active_, [&](Transfer* transfer) { return advance(*transfer); });
    return !told_to_fail();
  }

  // Another rank has failed.
  bool told_to_fail() {
    int told = 0;
    require(MPI_Test(&hearing_, &told, MPI_STATUS_IGNORE));
    if (told == 0) return false;
    const std::lock_guard lock(mutex_);
    heard_.back() = '\0';
    fail(heard_.data());
    told_ = true;
    return true;
  }

  void await_ready(Transfer& transfer) {
    add(transfer, 0, [&](MPI_Request* request) {
      return MPI_Irecv(&transfer.ready, 1, MPI_INT64_T, transfer.peer(),
                       ready_tag(transfer.envelope.tag), bytes_, request);
    });
  }

  void receive(Transfer& transfer) {
    in_pieces(transfer, [&](std::byte* piece, int count, MPI_Request* request) {
      return MPI_Irecv(piece, count, MPI_BYTE, transfer.peer(), bytes_tag(transfer.envelope.tag),
                       bytes_, request);
    });
    transfer.ready = transfer.bytes;
    add(transfer, 0, [&](MPI_Request* request) {
      return MPI_Isend(&transfer.ready, 1, MPI_INT64_T, transfer.peer(),
                       ready_tag(transfer.envelope.tag), bytes_, request);
    });
  }

  template <class Post>
  void add(Transfer& transfer, Index size, const Post& post) {
    MPI_Request request = MPI_REQUEST_NULL;
    require(post(&request), &transfer);
    transfer.requests.push_back(request);
    transfer.sizes.push_back(size);
  }

  // One piece at least: an empty message is a message.
  template <class Post>
  void in_pieces(Transfer& transfer, const Post& post) {
    Index begin = 0;
    do {
      const Index count = std::min(chunk_bytes_, transfer.bytes - begin);
      add(transfer, count, [&](MPI_Request* request) {
        return post(transfer.data + begin, static_cast<int>(count), request);
      });
      begin += count;
    } while (begin < transfer.bytes);
  }

  // True when the transfer is complete.
  bool advance(Transfer& transfer) {
    const Index moved = test(transfer);
    if (moved < 0) return false;
    moved_ = true;
    if (transfer.sends && !transfer.asked && all_done(transfer)) {
      transfer.asked = true;
      if (transfer.ready != transfer.bytes) {
        throw CommunicatorError(sizes_differ(transfer.envelope, transfer.bytes, transfer.ready));
      }
      in_pieces(transfer, [&](std::byte* piece, int count, MPI_Request* request) {
        return MPI_Isend(piece, count, MPI_BYTE, transfer.peer(), bytes_tag(transfer.envelope.tag),
                         bytes_, request);
      });
    }
    const bool complete = all_done(transfer);
    const std::lock_guard lock(mutex_);
    transfer.moved += moved;
    transfer.complete = complete;
    if (complete) changed_.notify_all();
    return complete;
  }

  static bool all_done(const Transfer& transfer) {
    return std::ranges::all_of(transfer.requests,
                               [](MPI_Request request) { return request == MPI_REQUEST_NULL; });
  }

  // Bytes of the pieces that have become complete; -1: none has.
  Index test(Transfer& transfer) {
    const int count = static_cast<int>(transfer.requests.size());
    std::vector<int>& done = done_;
    done.resize(transfer.requests.size());
    statuses_.resize(transfer.requests.size());
    int number = 0;
    const int code =
        MPI_Testsome(count, transfer.requests.data(), &number, done.data(), statuses_.data());
    if (code == MPI_ERR_IN_STATUS) {
      for (int n = 0; n < number; ++n)
        require(statuses_[static_cast<size_t>(n)].MPI_ERROR, &transfer);
    }
    require(code, &transfer);
    if (number == MPI_UNDEFINED || number == 0) return -1;
    Index moved = 0;
    for (int n = 0; n < number; ++n) {
      const Index size = transfer.sizes[static_cast<size_t>(done[static_cast<size_t>(n)])];
      moved += size;
      if (transfer.sends || size == 0) continue;
      int received = 0;
      MPI_Get_count(&statuses_[static_cast<size_t>(n)], MPI_BYTE, &received);
      if (received != size) {  // the sender has compared the whole: not a message of ours
        throw CommunicatorError(sizes_differ(transfer.envelope, received, size));
      }
    }
    return moved;
  }

  // Tells the others why, unless one of them told this rank, and takes back what can be.
  void spread() {
    if (bytes_ == MPI_COMM_NULL || reasons_ == MPI_COMM_NULL) return;
    std::vector<MPI_Request> requests;
    {
      const std::lock_guard lock(mutex_);
      reason_.copy(said_.data(), said_.size() - 1);
    }
    for (int rank = 0; rank < size_ && !told_; ++rank) {
      if (rank == rank_) continue;
      MPI_Request request = MPI_REQUEST_NULL;
      if (MPI_Isend(said_.data(), static_cast<int>(said_.size()), MPI_CHAR, rank, 0, reasons_,
                    &request) == MPI_SUCCESS) {
        requests.push_back(request);
      }
    }
    for (Transfer* transfer : active_) {
      for (MPI_Request& request : transfer->requests) {
        if (request == MPI_REQUEST_NULL || transfer->sends) continue;
        MPI_Cancel(&request);
        requests.push_back(request);
      }
    }
    const auto until = Clock::now() + kFarewell;
    for (int all = 0; all == 0 && Clock::now() < until;) {
      if (MPI_Testall(static_cast<int>(requests.size()), requests.data(), &all,
                      MPI_STATUSES_IGNORE) != MPI_SUCCESS) {
        break;
      }
      if (all == 0) std::this_thread::sleep_for(kLongestPause);
    }
  }

  void end() {
    MPI_Cancel(&hearing_);
    MPI_Wait(&hearing_, MPI_STATUS_IGNORE);
    MPI_Comm_free(&bytes_);
    MPI_Comm_free(&reasons_);
    MPI_Finalize();
  }

  const Index chunk_bytes_;
  int rank_ = 0, size_ = 0;
  Index bytes_sent_ = 0;

  mutable std::mutex mutex_;
  std::condition_variable wake_, changed_;  // the progress thread; those who wait for it
  std::deque<Transfer> transfers_;
  std::vector<Transfer*> started_;
  bool stopping_ = false, failed_ = false;
  bool silent_ = false;  // no MPI call will be made any more
  std::string reason_;

  MPI_Comm bytes_ = MPI_COMM_NULL, reasons_ = MPI_COMM_NULL;
  MPI_Request hearing_ = MPI_REQUEST_NULL;
  std::array<char, kReasonBytes> heard_{}, said_{};
  bool told_ = false, moved_ = false;
  std::chrono::microseconds pause_{};
  std::vector<Transfer*> active_;
  std::vector<int> done_;
  std::vector<MPI_Status> statuses_;

  std::jthread thread_;  // last: it uses all of the above
};

}  // namespace

std::string mpi_library() {
  char text[MPI_MAX_LIBRARY_VERSION_STRING];
  int length = 0;
  MPI_Get_library_version(text, &length);  // allowed before MPI_Init
  const std::string_view all(text, static_cast<size_t>(length));
  return std::string(all.substr(0, all.find_first_of(",\n")));
}

std::unique_ptr<Communicator> start_mpi(Index chunk_bytes) {
  return std::make_unique<MpiCommunicator>(chunk_bytes);
}

}  // namespace longattn

#else

namespace longattn {

std::string mpi_library() { return ""; }

std::unique_ptr<Communicator> start_mpi(Index) {
  throw UnsupportedError(
      "this program was built without MPI; install libopenmpi-dev and openmpi-bin, and build "
      "again");
}

}  // namespace longattn

#endif
