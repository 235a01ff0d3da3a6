//! Compiles `src/lossy.cc`, if the feature `lossy-disk` asks for it; else there is nothing to do.

fn main() {
    println!("cargo::rerun-if-changed=src/lossy.cc");
    #[cfg(feature = "lossy-disk")]
    compile();
}

#[cfg(feature = "lossy-disk")]
fn compile() {
    use std::path::Path;

    let variable = "DEP_ROCKSDB_CARGO_MANIFEST_DIR";
    let sources = std::env::var(variable).unwrap_or_else(|error| panic!("librocksdb-sys sets {variable}: {error}"));
    let sources = Path::new(&sources).join("rocksdb");
    // As librocksdb-sys compiles RocksDB for Linux: what these change in a header has to be the same on both sides, above all
    // the size of a mutex, which NDEBUG decides.
    cc::Build::new()
        .cpp(true)
        .file("src/lossy.cc")
        .include(sources.join("include"))
        .include(&sources)
        .define("NDEBUG", "1")
        .define("OS_LINUX", None)
        .define("ROCKSDB_PLATFORM_POSIX", None)
        .define("ROCKSDB_LIB_IO_POSIX", None)
        .define("HAVE_ALIGNED_NEW", None)
        .define("HAVE_UINT128_EXTENSION", None)
        .std("c++20")
        .flag("-include")
        .flag("cstdint")
        .warnings(false)
        .compile("talon_lossy");
}
