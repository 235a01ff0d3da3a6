// An Env whose files keep what was written in the process's memory until it is synced, so that a killed process loses the
// rest, as a machine does that loses power. The file system that does so comes with RocksDB and is in its archive.

#include "rocksdb/env.h"
#include "utilities/fault_injection_fs.h"

// As in RocksDB's db/c.cc, which keeps it to itself.
struct rocksdb_env_t {
  rocksdb::Env* rep;
  bool is_default;
};

extern "C" rocksdb_env_t* talon_lossy_env() {
  auto files = std::make_shared<rocksdb::FaultInjectionTestFS>(rocksdb::FileSystem::Default());
  files->SetInjectUnsyncedDataLoss(true);
  // "Default" only says that RocksDB must not destroy it: databases that are closed at the end of the process still use it.
  return new rocksdb_env_t{rocksdb::NewCompositeEnv(files).release(), true};
}
