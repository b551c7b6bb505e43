//! Who uses a file: processes, what they have mapped, where the loader would find their libraries; and
//! which machine this is. The only place that reads /proc.

pub mod cgroups;
pub mod containers;
pub mod inodes;
pub mod libraries;
pub mod machine;
pub mod mounts;
pub mod places;
pub mod privileges;
pub mod processes;
pub mod programs;
pub mod roots;
pub mod selected;
pub mod started;
pub mod table;
