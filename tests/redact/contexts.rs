//! Where agents have secrets: heads, requests of models, results of tools, diffs, logs, code.

use agentsight::redact::Redactor;
use serde_json::{Value, json};

/// Rules whose secrets are known by what stands around them: they are tried in their own examples only.
const BOUND: &[&str] = &[
    "assignment",
    "authorization",
    "aws-secret-key",
    "azure-key",
    "bearer-token",
    "connection-string",
    "cookies",
    "discord-token",
    "discord-webhook",
    "docker-auth",
    "environment",
    "header-keys",
    "json-keys",
    "npmrc-token",
    "private-key",
    "query-keys",
    "slack-webhook",
    "telegram-token",
    "twilio-token",
    "url-password",
];

/// Places for any key that has a shape of its own; with `@@`.
const PLACES: &[(&str, &str)] = &[
    ("prose", "Please use @@ for this, and tell nobody.\n"),
    ("end of text", "the key: @@"),
    ("dotenv", "PORT=8080\nTHE_VALUE=@@\nDEBUG=1\n"),
    ("quoted dotenv", "export THE_VALUE=\"@@\"\n"),
    (
        "diff",
        "@@ -1,3 +1,3 @@\n-value = '@@'\n+value = os.environ['V']\n",
    ),
    (
        "numbered file",
        "     1\timport x\n     2\tclient = X(\"@@\")\n",
    ),
    ("log", "2026-01-01T00:00:00Z INFO start value=@@ pid=1\n"),
    ("colours", "\u{1b}[32m@@\u{1b}[0m\n"),
    ("yaml", "a:\n  - value: @@\n"),
    ("toml", "[a]\nvalue = \"@@\"\n"),
    ("xml", "<value>@@</value>"),
    ("code", "const client = new Client({ value: '@@' });\n"),
    ("list", "x,@@,y\n"),
    ("markdown", "Set it to `@@`.\n"),
    ("command", "curl -H 'X-Some: @@' https://api.example/v1\n"),
    (
        "query",
        "GET /v1/x?value=@@&b=1 HTTP/1.1\r\nHost: a\r\n\r\n",
    ),
    ("dictionary", "{'value': '@@', 'b': 1}"),
];

/// Places that name what stands there: for any key at all.
const NAMED: &[(&str, &str)] = &[
    (
        "bearer in a head",
        "POST /v1 HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer @@\r\n\r\n{}",
    ),
    (
        "x-api-key in a head",
        "POST /v1 HTTP/1.1\r\nx-api-key: @@\r\nHost: a\r\n\r\n{}",
    ),
    ("named in .env", "A=1\nMY_API_KEY=@@\nB=2\n"),
    ("named in a diff", "+SERVICE_TOKEN=@@\n"),
    (
        "command with a header",
        "curl -s -H \"Authorization: Bearer @@\" https://a.example/\n",
    ),
    (
        "settings of MCP servers",
        "{\"mcpServers\":{\"x\":{\"command\":\"npx\",\"env\":{\"X_API_KEY\":\"@@\"}}}}",
    ),
];

/// The texts that have this secret in them, and what they are called.
pub fn of(rule: &str, secret: &str) -> Vec<(&'static str, String)> {
    let is_plain = secret
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"-_.~+/=:%".contains(&byte));
    if !is_plain {
        return Vec::new();
    }
    let mut places = NAMED.to_vec();
    if BOUND.contains(&rule) {
        // Short ones may be words.
        places.retain(|_| secret.len() >= 8);
    } else {
        places.extend_from_slice(PLACES);
    }
    places
        .into_iter()
        .map(|(name, place)| (name, place.replace("@@", secret)))
        .collect()
}

/// The text as it is, in requests of models, and in results of tools, all masked: sent in chunks, streamed, and decoded.
pub fn masked(redactor: &mut Redactor, text: &str) -> String {
    let request = json!({"model": "m", "messages": [
        {"role": "user", "content": [{"type": "text", "text": text}]},
        {"role": "tool", "content": json!({"stdout": text, "code": 0}).to_string()}]});
    let mut all = String::new();
    let mut plain = text.to_owned();
    redactor.text(&mut plain);
    all += &plain;
    let mut decoded: Value = request.clone();
    redactor.json(&mut decoded);
    all += &decoded.to_string();
    let mut sent = request.to_string();
    redactor.text(&mut sent);
    let _: Value = serde_json::from_str(&sent).unwrap_or_else(|error| panic!("{error}: {sent}"));
    assert_eq!(
        decoded,
        serde_json::from_str::<Value>(&sent).unwrap(),
        "sent and decoded differ"
    );
    all += &sent;
    let key = Default::default();
    let letters: Vec<char> = text.chars().collect();
    for piece in letters.chunks(4) {
        let mut piece: String = piece.iter().collect();
        redactor.stream_text(key, &mut piece);
        all += &piece;
    }
    all + &redactor.flush(key)
}

/// A part of a secret that must not be seen: what comes before it may say which kind it is.
pub fn middle(secret: &str) -> String {
    let from = secret.len() / 3;
    secret[from..from + (secret.len() / 2).max(1)].to_owned()
}
