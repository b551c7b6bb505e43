//! Acts become deeds as the kernel side lays them out; the live tests show that it does.

use super::*;

#[test]
fn variables_are_in_order() {
    assert!(
        is_variable_told(b"LD_PRELOAD")
            && is_variable_told(b"ZDOTDIR")
            && is_variable_told(b"BASH_ENV")
    );
    assert!(!is_variable_told(b"OPENAI_API_KEY"));
}
