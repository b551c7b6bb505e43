//! The rules that come with the program: `default/*.yml`.

/// File and text.
pub const FILES: &[(&str, &str)] = &[
    ("conversation.yml", include_str!("default/conversation.yml")),
    (
        "curl_pipe_shell.yml",
        include_str!("default/curl_pipe_shell.yml"),
    ),
    (
        "download_then_exec.yml",
        include_str!("default/download_then_exec.yml"),
    ),
    ("loaders.yml", include_str!("default/loaders.yml")),
    (
        "other_processes.yml",
        include_str!("default/other_processes.yml"),
    ),
    ("persistence.yml", include_str!("default/persistence.yml")),
    ("privileges.yml", include_str!("default/privileges.yml")),
    (
        "secret_then_egress.yml",
        include_str!("default/secret_then_egress.yml"),
    ),
    (
        "write_then_exec.yml",
        include_str!("default/write_then_exec.yml"),
    ),
];
