//! RocksDB on files that forget what was not synced when the process is killed: the page cache is left out. For tests only.

use std::ffi::c_void;
use std::sync::LazyLock;

use rocksdb::Env;

unsafe extern "C" {
    fn talon_lossy_env() -> *mut c_void;
}

/// One for the process: who reads a file that another database of it has just written must find what is not synced.
pub fn env() -> Env {
    static ENV: LazyLock<Env> = LazyLock::new(|| {
        // SAFETY: `lossy.cc` gives a new `rocksdb_env_t`, which nobody else has and nobody else frees.
        unsafe { Env::from_raw(talon_lossy_env().cast()) }
    });
    ENV.clone()
}
