//! A shell script stands for a bootstrap, where there is a shell with `curl`; the end to end tests run the real ones.

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
api=http://$AWS_LAMBDA_RUNTIME_API/2018-06-01/runtime/invocation
while :; do
  event=$(curl -s -D $SCRATCH/headers $api/next) || exit 1
  id=$(grep -i '^lambda-runtime-aws-request-id:' $SCRATCH/headers | tr -d '\r' | cut -d' ' -f2)
  case $event in
    *error*) curl -s -o /dev/null $api/$id/error -d '{"errorType":"T","errorMessage":"m"}' ;;
    *die*) exit 3 ;;
    *hang*) exec sleep 1000 ;;
    *) curl -s -o /dev/null $api/$id/response --data-binary "$event" ;;
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
    let variables = vec![("SCRATCH".to_owned(), directory.path().display().to_string())];
    let program = Program { binary, variables, log: directory.path().join("log") };
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
