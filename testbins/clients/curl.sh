#!/usr/bin/env bash
# Drives a mock LLM server with curl: whole and streamed answers, over HTTP/1.1 and HTTP/2, on kept connections.
#
#     curl.sh URL CERT [CURL]
#
# Ends with 1 if a call went otherwise than it should.
set -euo pipefail
url=$1 cert=$2 curl=${3:-curl}

ask() {
    "$curl" --silent --show-error --no-buffer --compressed --cacert "$cert" --header 'content-type: application/json' \
        --header 'authorization: Bearer sk-not-a-real-key' "$@"
}

chat='{"model":"gpt-5","messages":[{"role":"user","content":"hi \"there\" 👩‍👩‍👧‍👦"}]}'
stream='{"model":"gpt-5","stream":true,"messages":[{"role":"user","content":"hi"}],"stream_options":{"include_usage":true}}'
claude='{"model":"claude-demo-1","max_tokens":9,"stream":true,"messages":[{"role":"user","content":"hi"}]}'
gemini='{"contents":[{"role":"user","parts":[{"text":"hi"}]}]}'

for version in --http1.1 --http2; do
    # Several on one connection.
    ask $version --data "$chat" "$url/v1/chat/completions" \
        --next --silent --cacert "$cert" $version --data "$stream" --header 'content-type: application/json' "$url/v1/chat/completions" \
        --next --silent --cacert "$cert" $version --data "$claude" --header 'content-type: application/json' "$url/v1/messages"
    ask $version --data "$gemini" "$url/v1beta/models/gemini-2.5-flash:streamGenerateContent"
    ask $version --data "$claude" --header 'x-mock-fault: 529' "$url/v1/messages"
done
# Cut off: curl must complain.
! ask --http1.1 --data "$stream" "$url/v1/chat/completions?fault=cut" || exit 1
# Behind Expect: 100-continue.
ask --http1.1 --header 'expect: 100-continue' --data "$chat" "$url/v1/chat/completions"
