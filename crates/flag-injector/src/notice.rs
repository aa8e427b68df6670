//! The notices of S3, however they are wrapped: direct, through SNS, SQS (with or without SNS before it) or EventBridge.
//!
//! Which wrapping it is, the text's own shape says. S3's test message is no notice and no error. Keys come form-encoded
//! (a plus sign is a space), but plain from EventBridge.

use percent_encoding::percent_decode_str;
use serde::Deserialize;

/// A wrapping inside a wrapping inside a queue's message: more there is not.
const DEEPEST: u32 = 3;

/// What happened to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Happened {
    /// It was written.
    Created,
    /// It was deleted or has expired.
    Removed,
    /// Tagged, restored, archived: nothing to its content.
    Other,
}

/// One notice about one object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Notice {
    pub(crate) bucket: String,
    pub(crate) key: String,
    pub(crate) happened: Happened,
    /// Orders the notices of one object; empty where there is none.
    pub(crate) sequencer: String,
    /// Which version, in a bucket that keeps them.
    pub(crate) version_id: Option<String>,
}

/// The text holds no notice of S3. The same text fails again.
#[derive(Debug, thiserror::Error)]
pub enum NoticeError {
    /// Not JSON, or a member of the wrong kind.
    #[error("not a notice of S3: {0}")]
    Json(#[from] serde_json::Error),
    /// JSON of another shape.
    #[error(
        "not a notice of S3, neither direct nor through SQS, SNS or EventBridge; let the trigger send S3 events only"
    )]
    Shape,
    /// The key is no UTF-8 when decoded.
    #[error("the notice's key {0:?} does not decode to UTF-8")]
    Key(String),
}

/// A message of a queue: it fails or succeeds alone.
#[derive(Debug)]
pub(crate) struct Message {
    pub(crate) id: String,
    pub(crate) notices: Result<Vec<Notice>, NoticeError>,
}

/// An event by what must be answered to it.
#[derive(Debug)]
pub(crate) enum Event {
    /// From SQS.
    Queue(Vec<Message>),
    /// From elsewhere: it fails or succeeds as a whole.
    Whole(Vec<Notice>),
}

#[derive(Deserialize)]
struct Envelope {
    #[serde(rename = "Records")]
    records: Option<Vec<Record>>,
    /// S3's test message.
    #[serde(rename = "Event")]
    event: Option<String>,
    /// SNS, as a queue gets it.
    #[serde(rename = "Message")]
    message: Option<String>,
    /// EventBridge.
    source: Option<String>,
    #[serde(rename = "detail-type")]
    detail_type: Option<String>,
    detail: Option<Entity>,
}

#[derive(Deserialize)]
struct Record {
    #[serde(rename = "eventName")]
    name: Option<String>,
    s3: Option<Entity>,
    #[serde(rename = "Sns")]
    sns: Option<Sns>,
    #[serde(rename = "messageId")]
    message_id: Option<String>,
    body: Option<String>,
}

#[derive(Deserialize)]
struct Sns {
    #[serde(rename = "Message")]
    message: String,
}

#[derive(Deserialize)]
struct Entity {
    bucket: Bucket,
    object: Object,
}

#[derive(Deserialize)]
struct Bucket {
    name: String,
}

#[derive(Deserialize)]
struct Object {
    key: String,
    #[serde(default)]
    sequencer: String,
    #[serde(rename = "versionId", alias = "version-id")]
    version_id: Option<String>,
}

impl Entity {
    fn notice(self, key: String, happened: Happened) -> Notice {
        let Object { sequencer, version_id, .. } = self.object;
        let version_id = version_id.filter(|id| !id.is_empty() && id != UNVERSIONED);
        Notice { bucket: self.bucket.name, key, happened, sequencer, version_id }
    }
}

/// The version of an object that was written before its bucket kept versions.
const UNVERSIONED: &str = "null";

/// Reads an event.
pub(crate) fn read(text: &str) -> Result<Event, NoticeError> {
    let envelope: Envelope = serde_json::from_str(text)?;
    let Some(records) = envelope.records.as_ref().filter(|records| records.iter().any(|record| record.body.is_some()))
    else {
        return Ok(Event::Whole(unwrap(envelope, 0)?));
    };
    let message = |record: &Record| {
        let id = record.message_id.clone().filter(|id| !id.is_empty())?;
        Some(Message { id, notices: notices(record.body.as_deref()?, 1) })
    };
    Ok(Event::Queue(records.iter().map(message).collect::<Option<_>>().ok_or(NoticeError::Shape)?))
}

fn notices(text: &str, depth: u32) -> Result<Vec<Notice>, NoticeError> {
    if depth > DEEPEST {
        return Err(NoticeError::Shape);
    }
    unwrap(serde_json::from_str(text)?, depth)
}

fn unwrap(envelope: Envelope, depth: u32) -> Result<Vec<Notice>, NoticeError> {
    match envelope {
        Envelope { records: Some(records), .. } => {
            let mut found = Vec::new();
            for record in records {
                match record {
                    Record { s3: Some(entity), name: Some(name), .. } => found.push(direct(entity, &name)?),
                    Record { sns: Some(sns), .. } => found.extend(notices(&sns.message, depth + 1)?),
                    _ => return Err(NoticeError::Shape),
                }
            }
            Ok(found)
        }
        Envelope { event: Some(event), .. } if event == "s3:TestEvent" => Ok(Vec::new()),
        Envelope { source: Some(source), detail_type: Some(kind), detail: Some(entity), .. } if source == "aws.s3" => {
            let happened = match kind.as_str() {
                "Object Created" => Happened::Created,
                "Object Deleted" => Happened::Removed,
                _ => Happened::Other,
            };
            let key = entity.object.key.clone();
            Ok(vec![entity.notice(key, happened)])
        }
        Envelope { message: Some(message), .. } => notices(&message, depth + 1),
        _ => Err(NoticeError::Shape),
    }
}

fn direct(entity: Entity, name: &str) -> Result<Notice, NoticeError> {
    let name = name.strip_prefix("s3:").unwrap_or(name);
    let happened = match name.split(':').next() {
        Some("ObjectCreated") => Happened::Created,
        Some("ObjectRemoved" | "LifecycleExpiration") => Happened::Removed,
        _ => Happened::Other,
    };
    let spaced = entity.object.key.replace('+', " ");
    match percent_decode_str(&spaced).decode_utf8() {
        Ok(key) => Ok(entity.notice(key.into_owned(), happened)),
        Err(_) => Err(NoticeError::Key(entity.object.key)),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// As the S3 user guide shows it.
    pub(crate) fn s3(name: &str, key: &str) -> String {
        format!(
            r#"{{"Records":[{{"eventVersion":"2.1","eventSource":"aws:s3","awsRegion":"us-west-2",
            "eventTime":"1970-01-01T00:00:00.000Z","eventName":"{name}","userIdentity":{{"principalId":"AIDAJDPLRKLG7UEXAMPLE"}},
            "requestParameters":{{"sourceIPAddress":"127.0.0.1"}},"responseElements":{{"x-amz-request-id":"C3D13FE58DE4C810"}},
            "s3":{{"s3SchemaVersion":"1.0","configurationId":"testConfigRule","bucket":{{"name":"amzn-s3-demo-bucket",
            "ownerIdentity":{{"principalId":"A3NL1KOZZKExample"}},"arn":"arn:aws:s3:::amzn-s3-demo-bucket"}},
            "object":{{"key":"{key}","size":1024,"eTag":"d41d8cd98f00b204e9800998ecf8427e",
            "versionId":"096fKKXTRTtl3on89fVO.nfljtsv6qko","sequencer":"0055AED6DCD90281E5"}}}}}}]}}"#
        )
    }

    /// As the S3 user guide shows it.
    pub(crate) fn eventbridge(kind: &str, key: &str) -> String {
        format!(
            r#"{{"version":"0","id":"17793124-05d4-b198-2fde-7ededc63b103","detail-type":"{kind}","source":"aws.s3",
            "account":"111122223333","time":"2021-11-12T00:00:00Z","region":"ca-central-1",
            "resources":["arn:aws:s3:::amzn-s3-demo-bucket"],"detail":{{"version":"0",
            "bucket":{{"name":"amzn-s3-demo-bucket"}},"object":{{"key":"{key}","size":5,
            "etag":"b1946ac92492d2347c6235b4d2611184","version-id":"IYV3p45BT0ac8hjHg1houSdS1a.Mro8e",
            "sequencer":"617f08299329d189"}},"request-id":"N4N7GDK58NMKJ12R","requester":"123456789012",
            "source-ip-address":"1.2.3.4","reason":"PutObject"}}}}"#
        )
    }

    fn quoted(text: &str) -> String {
        serde_json::to_string(text).unwrap()
    }

    pub(crate) fn sns(message: &str) -> String {
        format!(
            r#"{{"Records":[{{"EventVersion":"1.0","EventSubscriptionArn":"arn:aws:sns:us-east-1:123456789012:t:x",
            "EventSource":"aws:sns","Sns":{{"Type":"Notification","MessageId":"95df01b4","TopicArn":"arn:aws:sns:us-east-1:1:t",
            "Subject":"Amazon S3 Notification","Message":{},"Timestamp":"1970-01-01T00:00:00.000Z"}}}}]}}"#,
            quoted(message)
        )
    }

    pub(crate) fn sns_envelope(message: &str) -> String {
        format!(
            r#"{{"Type":"Notification","MessageId":"dc1e94d9","TopicArn":"arn:aws:sns:us-east-1:1:t","Message":{},
            "Timestamp":"2019-01-02T12:45:07.000Z","SignatureVersion":"1"}}"#,
            quoted(message)
        )
    }

    pub(crate) fn sqs(bodies: &[&str]) -> String {
        let message = |(n, body): (usize, &&str)| {
            format!(
                r#"{{"messageId":"m{n}","receiptHandle":"AQEB","body":{},"attributes":{{"ApproximateReceiveCount":"1"}},
                "messageAttributes":{{}},"md5OfBody":"098f6bcd","eventSource":"aws:sqs",
                "eventSourceARN":"arn:aws:sqs:us-east-2:123456789012:my-queue","awsRegion":"us-east-2"}}"#,
                quoted(body)
            )
        };
        format!(r#"{{"Records":[{}]}}"#, bodies.iter().enumerate().map(message).collect::<Vec<_>>().join(","))
    }

    pub(crate) const TEST_EVENT: &str = r#"{"Service":"Amazon S3","Event":"s3:TestEvent","Time":"2014-10-13T15:57:02.089Z",
        "Bucket":"amzn-s3-demo-bucket","RequestId":"5582815E1AEA5ADF","HostId":"8cLeGAmw098X5cv4Zkwcmo8vvZa3eH3eKxsPzbB9wrR"}"#;

    fn whole(text: &str) -> Vec<Notice> {
        match read(text).unwrap() {
            Event::Whole(notices) => notices,
            Event::Queue(_) => panic!("not from a queue"),
        }
    }

    fn notice(key: &str, happened: Happened) -> (String, String, Happened) {
        ("amzn-s3-demo-bucket".into(), key.into(), happened)
    }

    fn essence(notices: Vec<Notice>) -> Vec<(String, String, Happened)> {
        notices.into_iter().map(|notice| (notice.bucket, notice.key, notice.happened)).collect()
    }

    #[test]
    fn every_wrapping_gives_the_same_notice() {
        let expected = vec![notice("a b+é/c.json", Happened::Created)];
        let direct = s3("ObjectCreated:Put", "a+b%2B%C3%A9/c.json");
        let bridge = eventbridge("Object Created", "a b+é/c.json");
        for text in [direct.clone(), bridge.clone(), sns(&direct)] {
            assert_eq!(essence(whole(&text)), expected, "{text}");
        }
        let queue = sqs(&[&direct, &sns_envelope(&direct), &bridge, &sns_envelope(&bridge)]);
        let Event::Queue(messages) = read(&queue).unwrap() else { panic!("from a queue") };
        assert_eq!(messages.len(), 4);
        for (n, message) in messages.into_iter().enumerate() {
            assert_eq!((message.id, essence(message.notices.unwrap())), (format!("m{n}"), expected.clone()));
        }
    }

    #[test]
    fn the_test_message_is_no_notice_in_any_wrapping() {
        assert_eq!(whole(TEST_EVENT), []);
        assert_eq!(whole(&sns(TEST_EVENT)), []);
        let Event::Queue(messages) = read(&sqs(&[TEST_EVENT, &sns_envelope(TEST_EVENT)])).unwrap() else {
            panic!("from a queue")
        };
        assert!(messages.iter().all(|message| matches!(&message.notices, Ok(notices) if notices.is_empty())));
    }

    #[test]
    fn what_happened_is_told_apart() {
        for (name, kind, happened) in [
            ("ObjectCreated:CompleteMultipartUpload", "Object Created", Happened::Created),
            ("s3:ObjectCreated:Copy", "Object Created", Happened::Created),
            ("ObjectRemoved:DeleteMarkerCreated", "Object Deleted", Happened::Removed),
            ("LifecycleExpiration:Delete", "Object Deleted", Happened::Removed),
            ("ObjectTagging:Put", "Object Tags Added", Happened::Other),
        ] {
            assert_eq!(essence(whole(&s3(name, "k"))), [notice("k", happened)], "{name}");
            assert_eq!(essence(whole(&eventbridge(kind, "k"))), [notice("k", happened)], "{kind}");
        }
    }

    #[test]
    fn eventbridge_keys_are_plain() {
        assert_eq!(essence(whole(&eventbridge("Object Created", "a+b%20c"))), [notice("a+b%20c", Happened::Created)]);
    }

    #[test]
    fn a_notice_says_which_version_and_in_what_order() {
        let direct = &whole(&s3("ObjectCreated:Put", "k"))[0];
        assert_eq!(direct.sequencer, "0055AED6DCD90281E5");
        assert_eq!(direct.version_id.as_deref(), Some("096fKKXTRTtl3on89fVO.nfljtsv6qko"));
        let bridge = &whole(&eventbridge("Object Created", "k"))[0];
        assert_eq!(bridge.sequencer, "617f08299329d189");
        assert_eq!(bridge.version_id.as_deref(), Some("IYV3p45BT0ac8hjHg1houSdS1a.Mro8e"));
        let bare = s3("ObjectCreated:Put", "k").replace("versionId", "x").replace("sequencer", "y");
        let bare = &whole(&bare)[0];
        assert_eq!((bare.sequencer.as_str(), &bare.version_id), ("", &None));
    }

    #[test]
    fn another_text_is_an_error_and_in_a_queue_only_its_message_s() {
        let mut deep = s3("ObjectCreated:Put", "k");
        for _ in 0..5 {
            deep = sns_envelope(&deep);
        }
        let other = eventbridge("EC2 Instance State-change Notification", "k").replace("aws.s3", "aws.ec2");
        for text in ["", "[]", "{}", "null", r#"{"Records":[{}]}"#, r#"{"Records":7}"#, &deep, &other] {
            assert!(read(text).is_err(), "{text}");
        }
        assert!(matches!(read(&s3("ObjectCreated:Put", "%FF")), Err(NoticeError::Key(key)) if key == "%FF"));
        let Event::Queue(messages) = read(&sqs(&["x", &s3("ObjectCreated:Put", "k")])).unwrap() else {
            panic!("from a queue")
        };
        assert!(messages[0].notices.is_err() && messages[1].notices.is_ok());
        assert!(read(&sqs(&["x"]).replace("m0", "")).is_err());
    }
}
