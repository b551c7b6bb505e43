//! Who uses a file: processes, what they have mapped, and where the loader would find their libraries.
//! The only place that reads /proc.

pub mod libraries;
pub mod privileges;
pub mod processes;
