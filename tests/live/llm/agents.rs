//! Real agents that ask the mock server: how each is started, with its settings in the scene's own folder.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::clients::Scene;
use crate::support::repository;

/// What every agent is told first: the script says the rest.
const PROMPT: &str = "please do it";

/// Claude Code, which may use these tools without asking; `more` are options.
pub fn claude_code(scene: &Scene, program: &Path, tools: &[&str], more: &[&str]) -> Command {
    let mut command = scene.command(program);
    command
        .args(["-p", "--allowedTools"])
        .args(tools)
        .args(more)
        .args(["--", PROMPT])
        .env("ANTHROPIC_API_KEY", "not-a-real-key")
        .env("ANTHROPIC_BASE_URL", scene.server.url())
        .env("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1")
        .env("CLAUDE_CODE_TMPDIR", scene.dir.path())
        .env("DISABLE_AUTOUPDATER", "1")
        .env("DISABLE_ERROR_REPORTING", "1")
        .env("DISABLE_TELEMETRY", "1");
    command
}

/// codex, with more lines of its server's settings.
pub fn codex(scene: &Scene, program: &Path, more: &str) -> Command {
    let mut command = scene.command(program);
    command
        .args(["exec", "--skip-git-repo-check", PROMPT])
        .env("CODEX_HOME", codex_home(scene, more))
        .env("CODEX_CA_CERTIFICATE", &scene.server.ca)
        .env("DEMO_KEY", "not-a-real-key");
    command
}

/// What makes codex ask this server, in a folder of its own.
fn codex_home(scene: &Scene, more: &str) -> PathBuf {
    let home = scene.dir.path().join("codex");
    std::fs::create_dir(&home).unwrap();
    let config = format!(
        "model = \"demo-model-1\"\nmodel_provider = \"local\"\napproval_policy = \"never\"\n\
         sandbox_mode = \"danger-full-access\"\n[analytics]\nenabled = false\n[model_providers.local]\n\
         name = \"local\"\nbase_url = \"{}/v1\"\nwire_api = \"responses\"\nenv_key = \"DEMO_KEY\"\n{more}\n",
        scene.server.url()
    );
    std::fs::write(home.join("config.toml"), config).unwrap();
    home
}

/// The small agent in Python.
pub fn small(scene: &Scene, python: &Path) -> Command {
    let mut command = scene.command(python);
    command
        .arg(small_source())
        .arg(scene.server.url())
        .arg(&scene.server.ca);
    command
}

/// Its program.
pub fn small_source() -> PathBuf {
    repository().join("tests/live/deeds/agent.py")
}

/// The agent of LangChain; its packages are in this folder.
pub fn langchain(scene: &Scene, python: &Path, packages: &Path) -> Command {
    let mut command = scene.command(python);
    command
        .env("PYTHONPATH", packages)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .arg(repository().join("tests/live/deeds/langchain_agent.py"))
        .arg(scene.server.url());
    command
}
