//! The combinations. Each is here for something that the others have not got; the names say what.

use super::{Combination, Library};

const OPENSSL_1_1: Library = Library::OpenSsl("111.28.2+1.1.1w");
const OPENSSL_3_0: Library = Library::OpenSsl("300.0.13+3.0.8");
const OPENSSL_3_2: Library = Library::OpenSsl("300.2.3+3.2.1");
const OPENSSL_3_6: Library = Library::OpenSsl("300.6.1+3.6.3");
const OPENSSL_4_0: Library = Library::OpenSsl("400.0.2+4.0.3");
/// 2026, in a crate that carries the repository as it is.
const BORING_2026: Library = Library::BoringSsl("boring-sys", "5.4.0", "deps/boringssl");
/// 2023.
const BORING_2023: Library = Library::BoringSsl("boring-sys", "4.22.0", "deps/boringssl/src");
/// 2020, from before `SSL_write` refused negative lengths.
const BORING_2020: Library = Library::BoringSsl("boring-sys", "1.1.1", "deps/boringssl/src");

const PIC: &str = "-O2 -fPIC";
const PIE: &str = "-O2 -pie -fPIE";
const STATIC: &str = "-O2 -static";
const STATIC_PIE: &str = "-O2 -static-pie -fPIE";
/// What the linker may drop and merge; functions that nobody calls are gone.
const LEAN: &str = "-O2 -pie -fPIE -fuse-ld=lld -Wl,--gc-sections,--icf=all";
/// An executable at fixed addresses, which code loads as immediates.
const LEAN_FIXED: &str = "-O2 -no-pie -fno-pie -fuse-ld=lld -Wl,--gc-sections,--icf=all";
const SECTIONS: &str = "-O2 -fPIC -ffunction-sections -fdata-sections";
const LEAN_SIZE: &str = "-Os -fPIC -ffunction-sections -fdata-sections";
const NO_UNWIND: &str =
    "-O2 -ffunction-sections -fno-asynchronous-unwind-tables -fno-unwind-tables";
const CLANG_LTO: &str = "-O2 -fPIC -flto";
const CLANG_LTO_FIXED: &str =
    "-O2 -flto -ffunction-sections -fno-asynchronous-unwind-tables -fno-unwind-tables";
/// Paths as in a bigger source tree.
const PREFIXED: &str = "-O2 -fPIC -fmacro-prefix-map=ssl/=third_party/boringssl/src/ssl/";
/// No source paths at all.
const NO_PATHS: &str = r#"-O2 -fPIC -Wno-builtin-macro-redefined -D__FILE__=\"\""#;

/// Every combination, those of an extended run included.
pub const MATRIX: &[Combination] = &[
    quick("debian-gcc-pie", Library::System, "gcc", "", PIE),
    quick("debian-gcc-static", Library::System, "gcc", "", STATIC),
    quick(
        "debian-clang-static-pie",
        Library::System,
        "clang",
        "",
        STATIC_PIE,
    ),
    quick("debian-clang-lean", Library::System, "clang", "", LEAN),
    quick("openssl-3.6-gcc-O2", OPENSSL_3_6, "gcc", PIC, PIE),
    quick(
        "openssl-3.6-clang-Os-lean",
        OPENSSL_3_6,
        "clang",
        LEAN_SIZE,
        LEAN,
    ),
    quick(
        "boringssl-2026-clang-O2-lean",
        BORING_2026,
        "clang",
        SECTIONS,
        LEAN,
    ),
    quick(
        "boringssl-2026-clang-fixed",
        BORING_2026,
        "clang",
        NO_UNWIND,
        LEAN_FIXED,
    ),
    extended("openssl-1.1.1-gcc-O2", OPENSSL_1_1, "gcc", PIC, PIE),
    extended(
        "openssl-1.1.1-gcc-Os",
        OPENSSL_1_1,
        "gcc",
        "-Os -fPIC",
        STATIC_PIE,
    ),
    extended("openssl-1.1.1-clang-O2", OPENSSL_1_1, "clang", PIC, LEAN),
    extended(
        "openssl-1.1.1-clang-lto",
        OPENSSL_1_1,
        "clang",
        CLANG_LTO,
        LEAN,
    ),
    extended("openssl-3.0-clang-Os", OPENSSL_3_0, "clang", "-Os", STATIC),
    extended("openssl-3.2-clang-O2", OPENSSL_3_2, "clang", PIC, PIE),
    extended("openssl-3.6-gcc-Os", OPENSSL_3_6, "gcc", "-Os -fPIC", PIE),
    extended("openssl-3.6-gcc-lean", OPENSSL_3_6, "gcc", SECTIONS, LEAN),
    extended(
        "openssl-3.6-gcc-fixed",
        OPENSSL_3_6,
        "gcc",
        NO_UNWIND,
        "-O2 -no-pie -fno-pie",
    ),
    extended(
        "openssl-3.6-no-paths",
        OPENSSL_3_6,
        "gcc",
        "-O2 -fPIC -DOPENSSL_NO_FILENAMES",
        PIE,
    ),
    extended(
        "openssl-3.6-clang-thinlto",
        OPENSSL_3_6,
        "clang",
        "-O2 -fPIC -flto=thin",
        LEAN,
    ),
    extended(
        "openssl-3.6-clang-O3-lto",
        OPENSSL_3_6,
        "clang",
        "-O3 -flto",
        LEAN_FIXED,
    ),
    extended("openssl-3.6-gcc-lto", OPENSSL_3_6, "gcc", CLANG_LTO, PIE),
    extended("openssl-4.0-gcc-O2", OPENSSL_4_0, "gcc", PIC, PIE),
    extended(
        "openssl-4.0-clang-Os",
        OPENSSL_4_0,
        "clang",
        "-Os -fPIC",
        STATIC_PIE,
    ),
    extended(
        "openssl-4.0-clang-lto",
        OPENSSL_4_0,
        "clang",
        CLANG_LTO,
        LEAN,
    ),
    extended("boringssl-2020-clang-O2", BORING_2020, "clang", PIC, PIE),
    extended("boringssl-2020-gcc-O2", BORING_2020, "gcc", PIC, PIE),
    extended("boringssl-2023-clang-O2", BORING_2023, "clang", PIC, PIE),
    extended(
        "boringssl-2023-clang-lto-fixed",
        BORING_2023,
        "clang",
        CLANG_LTO_FIXED,
        LEAN_FIXED,
    ),
    extended("boringssl-2026-gcc-O2", BORING_2026, "gcc", PIC, PIE),
    extended("boringssl-2026-gcc-lto", BORING_2026, "gcc", CLANG_LTO, PIE),
    extended(
        "boringssl-2026-clang-Os",
        BORING_2026,
        "clang",
        "-Os -fPIC",
        STATIC_PIE,
    ),
    extended(
        "boringssl-2026-prefixed-path",
        BORING_2026,
        "clang",
        PREFIXED,
        PIE,
    ),
    extended(
        "boringssl-2026-no-paths",
        BORING_2026,
        "clang",
        NO_PATHS,
        PIE,
    ),
    extended(
        "boringssl-2026-clang-lto",
        BORING_2026,
        "clang",
        CLANG_LTO,
        LEAN,
    ),
    extended(
        "boringssl-2026-clang-lto-fixed",
        BORING_2026,
        "clang",
        CLANG_LTO_FIXED,
        LEAN_FIXED,
    ),
];

const fn quick(
    name: &'static str,
    library: Library,
    compiler: &'static str,
    library_flags: &'static str,
    program_flags: &'static str,
) -> Combination {
    Combination {
        name,
        library,
        compiler,
        library_flags,
        program_flags,
        extended: false,
    }
}

const fn extended(
    name: &'static str,
    library: Library,
    compiler: &'static str,
    library_flags: &'static str,
    program_flags: &'static str,
) -> Combination {
    Combination {
        extended: true,
        ..quick(name, library, compiler, library_flags, program_flags)
    }
}
