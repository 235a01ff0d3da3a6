//! Talon as a library: `cargo run --release -p talon --example embedded [folder]`.

use std::error::Error;

use talon::{Batch, Talon};

fn main() -> Result<(), Box<dyn Error>> {
    let temporary;
    let folder = match std::env::args_os().nth(1) {
        Some(folder) => std::path::PathBuf::from(folder),
        None => {
            temporary = tempfile::tempdir()?;
            temporary.path().to_path_buf()
        }
    };
    let db = Talon::open(&folder)?;
    // Gives back the space of what has expired, until it is dropped.
    let _cleaner = db.start_ttl_cleaner(10)?;
    let kv = db.kv()?;

    println!("This folder was opened {} times", kv.incr(b"opened")?);

    kv.set(b"session:ada", b"logged in", Some(1800))?;
    println!("Ada's session ends in {:?} s", kv.ttl(b"session:ada")?);

    let mut batch = Batch::new();
    for (place, city) in ["Bern", "Oslo", "Rom", "Wien"].into_iter().enumerate() {
        kv.set_batch(&mut batch, format!("city:{place}").as_bytes(), city.as_bytes(), None)?;
    }
    kv.commit(batch)?; // all of them or none

    let before = kv.snapshot()?;
    kv.del_prefix(b"city:")?;
    println!("Now there are {} cities", kv.keys_prefix(b"city:")?.len());
    for pair in kv.snapshot_scan_prefix_limit(&before, b"city:", 1, 2)? {
        println!("In the snapshot: {} = {}", String::from_utf8_lossy(&pair.key), String::from_utf8_lossy(&pair.value));
    }

    // Any number of threads; the writes of those that wait together share one sync.
    std::thread::scope(|scope| {
        for _ in 0..8 {
            let kv = kv.clone();
            scope.spawn(move || (0..100).try_for_each(|_| kv.incr(b"visits").map(drop)));
        }
    });
    println!("{} visits", String::from_utf8_lossy(&kv.get(b"visits")?.unwrap_or_default()));

    match kv.expire(b"nobody", 10) {
        Err(error) if error.is_no_such_key() => println!("A key that is not there cannot expire: {error}"),
        other => other?,
    }
    println!("{} keys, {} bytes on disk", kv.key_count()?, kv.disk_space()?);
    Ok(())
}
