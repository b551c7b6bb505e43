//! The fuzzer's side of the targets: each body under a limit of time, and damage that knows ELF.

mod bodies;

use std::sync::Once;
use std::time::Duration;

use libfuzzer_sys::Corpus;

/// A body and what it may cost, looked up once.
pub fn run(name: &'static str, data: &[u8]) -> Corpus {
    static PROGRAMS: Once = Once::new();
    PROGRAMS.call_once(|| bodies::set_go_programs(go_programs()));
    let body = bodies::find(name);
    let before = processor_time();
    (body.run)(data);
    let took = processor_time() - before;
    assert!(
        took < limit(data.len()),
        "{took:?} for {} bytes",
        data.len()
    );
    Corpus::Keep
}

/// The programs in `$AGENTSIGHT_FUZZ_GO`, a list as `PATH`.
fn go_programs() -> Vec<Vec<u8>> {
    let paths = std::env::var_os("AGENTSIGHT_FUZZ_GO").unwrap_or_default();
    let paths = std::env::split_paths(&paths).filter(|path| !path.as_os_str().is_empty());
    paths
        .map(|path| std::fs::read(path).expect("a Go program"))
        .collect()
}

/// Half a second, and 20 microseconds for each byte. The slowest honest file takes 0.01.
fn limit(len: usize) -> Duration {
    Duration::from_millis(500) + Duration::from_micros(20) * u32::try_from(len).unwrap_or(u32::MAX)
}

/// Of this thread: other programs on the machine do not count.
fn processor_time() -> Duration {
    let mut now = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the kernel writes to `now`, which is ours.
    let failed = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut now) };
    assert_eq!(failed, 0);
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}

/// Half of all damage comes from [`bodies::mutate`], the other half from libFuzzer, which knows what
/// the code compares with.
pub fn mutate(data: &mut [u8], size: usize, max_size: usize, seed: u32) -> usize {
    if seed % 2 == 0 {
        return libfuzzer_sys::fuzzer_mutate(data, size, max_size);
    }
    bodies::mutate::damage(&mut data[..size], u64::from(seed));
    size
}

/// The whole of a file in `fuzz_targets`.
#[macro_export]
macro_rules! target {
    ($name:literal) => {
        libfuzzer_sys::fuzz_target!(|data: &[u8]| -> libfuzzer_sys::Corpus {
            agentsight_fuzz::run($name, data)
        });
        libfuzzer_sys::fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
            agentsight_fuzz::mutate(data, size, max_size, seed)
        });
    };
}
