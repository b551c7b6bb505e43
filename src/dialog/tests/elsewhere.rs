//! What is said of a call outside of its bodies.

use super::*;

/// What an answer took is not told, since only its head says it.
#[test]
fn tokens_are_told_from_the_head() {
    let body = r#"{"prompt":"q","max_tokens":9}"#;
    let asked = format!(
        "POST /model/mistral.m/invoke HTTP/1.1\r\nHost: bedrock-runtime.us-east-1.amazonaws.com\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let told = |answer: &str| {
        let answered = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nX-Amzn-Bedrock-Input-Token-Count: 17\r\n\
             X-Amzn-Bedrock-Output-Token-Count: 5\r\ncontent-length: {}\r\n\r\n{answer}",
            answer.len()
        );
        let said = said(
            &mut Dialogs::default(),
            &[
                open(),
                data(Direction::Write, 1_000_000, asked.as_bytes()),
                data(Direction::Read, 2_000_000, answered.as_bytes()),
                close(CloseReason::Freed),
            ],
        );
        let response = calls(&said)[0].call.response.clone().unwrap();
        let usage = response.usage.unwrap();
        (usage.input_tokens, usage.output_tokens)
    };
    let answer = r#"{"outputs":[{"text":"a","stop_reason":"stop"}]}"#;
    assert_eq!(told(answer), (Some(17), Some(5)));
    let answer = r#"{"generation":"a","prompt_token_count":3,"generation_token_count":1,"stop_reason":"stop"}"#;
    assert_eq!(told(answer), (Some(3), Some(1)));
}

/// What is said to a voice is told as a call of another API.
#[test]
fn only_some_web_sockets_ask() {
    let mut shared = Shared::default();
    let process = origin(0).process;
    let mut asks = |target| {
        let bytes = br#"{"type":"response.create","response":{"model":"m","input":"q"}}"#;
        let place = (Some("api.openai.com"), target);
        Calling::of_message(bytes, place, process, 0, &mut shared).is_some()
    };
    assert!(asks(Some("/v1/responses?x=y")));
    assert!(asks(Some("/backend-api/codex/responses")));
    assert!(asks(None));
    assert!(!asks(Some("/v1/realtime?model=gpt-realtime")));
}
