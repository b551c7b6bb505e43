//! Text without secrets: the files of this repository, and what looks like secrets and is none.

use std::path::Path;

use agentsight::redact::example;
use walkdir::WalkDir;

/// Lines of prose and code that speak of secrets, and none is in them.
const ABOUT: &[&str] = &[
    "The token endpoint answers with an access token; keep the secret key secret, and the password out of the log.\n",
    "if token is None or token == expected_token: return self.authorization_header(token)\n",
    "password = getpass.getpass('Password: ')\n",
    "api_key = os.environ[\"OPENAI_API_KEY\"]  # never write it here\n",
    "const apiKey = process.env.ANTHROPIC_API_KEY ?? await loadSecret('anthropic/api-key');\n",
    "curl -H \"Authorization: Bearer $GITHUB_TOKEN\" https://api.github.com/user\n",
    "curl -H 'x-api-key: YOUR_API_KEY' -H \"x-goog-api-key: ${GEMINI_API_KEY}\" https://a.example/v1\n",
    "export AWS_SECRET_ACCESS_KEY=$(pass show aws/secret)\nexport DB_PASSWORD=${DB_PASSWORD:?}\n",
    "headers: { Authorization: `Bearer ${token}`, 'X-Request-Id': uuid() },\n",
    "headers={\"Authorization\": f\"Bearer {self.api_key}\"},\n",
    "fn password(&self) -> &str { &self.password }\nlet secret: String = secret.into();\n",
    "type Credentials = { password: string; token?: string; secretKey: Buffer };\n",
    "{\"type\":\"object\",\"properties\":{\"password\":{\"type\":\"string\"},\"api_key\":{\"type\":\"string\"}},\"required\":[\"password\",\"api_key\"]}\n",
    "{\"usage\":{\"input_tokens\":12,\"output_tokens\":345},\"stop_reason\":\"max_tokens\"}\n",
    "{\"token\":\" Hello\",\"logprob\":-0.31,\"bytes\":[32,72]}\n",
    "The Authorization header is required. Set-Cookie and Cookie are described in RFC 6265.\n",
    "postgres://user:password@localhost:5432/db and https://user:${PASSWORD}@host/ are templates\n",
    "Usage: tool --token <TOKEN> --password-file FILE [--api-key KEY]\n",
    "risk-averse task-oriented sk-learn desk-bound ask-me-anything\n",
    "\"password\": \"Password\", \"forgotPassword\": \"Forgot your password?\", \"token\": \"Token\"\n",
    "permissions:\n  id-token: write\n  contents: read\n",
    "secret: ${{ secrets.GITHUB_TOKEN }}\n",
    "tokenizer.encode(text, add_special_tokens=False); max_tokens=4096, token_type_ids=None\n",
    "password_hash = bcrypt.hashpw(password.encode(), bcrypt.gensalt())\n",
];

/// What is random and no secret; in the form of examples.
const RANDOM: &[&str] = &[
    "commit {hex:40}\nindex {hex:7}..{hex:7} 100644\nMerge: {hex:9} {hex:9}\n",
    "{hex:8}-{hex:4}-4{hex:3}-a{hex:3}-{hex:12}\n",
    "\"integrity\": \"sha512-{base64:86}==\",\n\"resolved\": \"https://registry.npmjs.org/x/-/x-1.2.3.tgz\",\n",
    "{\"id\":\"msg_{base62:24}\",\"tool_use_id\":\"toolu_{base62:24}\",\"request\":\"req_{base62:24}\"}\n",
    "{\"id\":\"chatcmpl-{base62:29}\",\"system_fingerprint\":\"fp_{hex:10}\",\"call\":\"call_{base62:24}\"}\n",
    "checksum = \"{hex:64}\"\n",
    "data:image/png;base64,iVBORw0KGgo{base64:900}\n",
    "\"signature\":\"{base64:300}==\",\"encrypted_content\":\"gAAAAA{url64:400}\"\n",
    "!function(e,t){var n=e.{lower:2};t.{lower:3}=function(r){return n(r,{digit:3},\"{lower:5}\")}}({lower:2},{lower:2});\n",
    "x-request-id: {hex:32}\r\ncf-ray: {hex:16}-FRA\r\netag: W/\"{hex:20}\"\r\n",
    "0000{hex:4}: {hex:4} {hex:4} {hex:4} {hex:4}  ................\n",
    "sha256:{hex:64}  digest: {base64:43}=\n",
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI{base64:43} me@host\n",
    "-----BEGIN CERTIFICATE-----\n{base64:64}\n{base64:64}\n-----END CERTIFICATE-----\n",
    "{\"embedding\":[-0.0{digit:8},0.0{digit:8},-0.1{digit:8}],\"index\":{digit:2}}\n",
    "https://example.org/a/{base62:22}?page={digit:2}&id={base62:11}&utm_source={lower:6}\n",
    "_ZN{digit:2}{lower:12}{digit:2}{lower:9}17h{hex:16}E\n",
];

/// By name.
pub fn texts() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut texts = Vec::new();
    for part in [
        "src",
        "tests",
        "benches",
        "bpf",
        "docs",
        "symbol-db",
        "testbins",
        "scripts",
        "Cargo.lock",
        "README.md",
    ] {
        texts.push((part.to_owned(), files(&root.join(part))));
    }
    let random = |seed: u64| {
        RANDOM
            .iter()
            .map(move |template| example::expand(template, seed).text)
    };
    texts.push((
        "random, and no secret".to_owned(),
        (0..600).flat_map(random).collect(),
    ));
    texts.push(("about secrets".to_owned(), ABOUT.concat().repeat(3)));
    texts
}

/// All text of a folder, but for that of redaction itself, and for clients, which log in with keys that only look like some.
fn files(root: &Path) -> String {
    let entries = WalkDir::new(root).sort_by_file_name().into_iter().flatten();
    let paths = entries.map(walkdir::DirEntry::into_path).filter(|path| {
        let is_own = path.components().any(|part| {
            ["clients", "redact", "target"]
                .iter()
                .any(|own| part.as_os_str() == *own)
        });
        path.is_file() && !is_own && !path.ends_with("redact.rs")
    });
    paths
        .filter_map(|path| std::fs::read_to_string(path).ok())
        .collect()
}
