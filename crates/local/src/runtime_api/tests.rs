//! A bash script stands for a bootstrap; the end to end tests run the real ones.

use std::os::unix::fs::PermissionsExt;

use super::*;

#[derive(Debug)]
struct RealClock;

#[async_trait]
impl Clock for RealClock {
    #[allow(clippy::disallowed_methods, reason = "a process lives in real time")]
    fn now(&self) -> Timestamp {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap())
    }

    #[allow(clippy::disallowed_methods, reason = "a process lives in real time")]
    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}

/// Echoes events; `error` is answered with an error, `die` ends the process, `hang` is never answered.
const BOOTSTRAP: &str = r#"#!/bin/bash
request() {
  exec 3<>"/dev/tcp/${AWS_LAMBDA_RUNTIME_API/://}" || exit 1
  printf '%s %s HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: %s\r\n\r\n%s' "$1" "$api/$2" "${#3}" "$3" >&3
  length=0
  while IFS= read -r header <&3; do
    header=${header%$'\r'}
    case $header in
      lambda-runtime-aws-request-id:*) id=${header#*: } ;;
      content-length:*) length=${header#*: } ;;
      '') break ;;
    esac
  done
  IFS= read -r -N "$length" body <&3
  exec 3<&-
}
api=/2018-06-01/runtime/invocation
while :; do
  request GET next
  case $body in
    *error*) request POST "$id/error" '{"errorType":"T","errorMessage":"m"}' ;;
    *die*) exit 3 ;;
    *hang*) exec sleep 1000 ;;
    *) request POST "$id/response" "$body" ;;
  esac
done
"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_process_answers_fails_dies_hangs_and_comes_back() {
    let directory = tempfile::tempdir().unwrap();
    let binary = directory.path().join("bootstrap");
    std::fs::write(&binary, BOOTSTRAP).unwrap();
    std::fs::set_permissions(&binary, std::fs::Permissions::from_mode(0o755)).unwrap();
    let clock = Arc::new(RealClock);
    let program = Program { binary, variables: Vec::new(), log: directory.path().join("log") };
    let environment = Environment::start(program, clock.clone()).await.unwrap();
    let invoke = async |event: &'static str, millis: i64| {
        environment.invoke(Bytes::from_static(event.as_bytes()), clock.now().plus_millis(millis)).await
    };
    assert_eq!(invoke("\"hello\"", 60_000).await.unwrap(), "\"hello\"");
    let thrown = InvokeError::Thrown { kind: "T".into(), message: "m".into() };
    assert_eq!(invoke("\"error\"", 60_000).await.unwrap_err(), thrown);
    assert!(matches!(invoke("\"die\"", 60_000).await, Err(InvokeError::Exited(_))));
    assert_eq!(invoke("\"again\"", 60_000).await.unwrap(), "\"again\"");
    assert_eq!(invoke("\"hang\"", 300).await.unwrap_err(), InvokeError::TimedOut);
    assert!(!environment.is_running().await);
    assert_eq!(invoke("\"once more\"", 60_000).await.unwrap(), "\"once more\"");
    environment.kill().await;
    assert!(!environment.is_running().await);
}
