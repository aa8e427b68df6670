//! The records of the order stream, and what is in each of them.

use std::collections::BTreeMap;
use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;
use md5::{Digest, Md5};
use serde_json::{Value, json};

use crate::rng::Rng;
use crate::table::{BUYERS, DISHES};

/// What a record holds.
#[derive(Clone, Debug)]
pub enum Sub {
    /// An order with its bytes.
    Order(Value, Vec<u8>),
    /// Bytes that can never be processed.
    Bad(Vec<u8>),
}

/// Every record that was ever written, by its bytes. Flags are not among them.
#[derive(Debug, Default)]
pub struct Orders {
    pub known: BTreeMap<Vec<u8>, Vec<Sub>>,
    next: u64,
}

impl Orders {
    /// A new record of some kind, in a wrapping or not.
    pub fn draw(&mut self, wrapped: bool, rng: &mut Rng) -> Vec<u8> {
        let (bytes, subs) = match rng.below(if wrapped { 14 } else { 12 }) {
            0 => self.lines(rng),
            1 => self.objects(rng),
            2 => self.bad(rng),
            12 => self.zipped(rng),
            13 => self.aggregate(rng),
            _ => self.plain(rng),
        };
        self.known.insert(bytes.clone(), subs);
        bytes
    }

    fn plain(&mut self, rng: &mut Rng) -> (Vec<u8>, Vec<Sub>) {
        let order = self.order(rng);
        let bytes = order.to_string().into_bytes();
        (bytes.clone(), vec![Sub::Order(order, bytes)])
    }

    fn zipped(&mut self, rng: &mut Rng) -> (Vec<u8>, Vec<Sub>) {
        let (bytes, subs) = self.objects(rng);
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(&bytes).expect("memory takes all");
        (encoder.finish().expect("memory takes all"), subs)
    }

    /// Records as the Kinesis Producer Library puts several into one.
    fn aggregate(&mut self, rng: &mut Rng) -> (Vec<u8>, Vec<Sub>) {
        let mut message = field(1, b"p");
        let mut subs = Vec::new();
        for _ in 0..rng.between(1, 3) {
            let (bytes, inside) = if rng.chance(500) { self.plain(rng) } else { self.lines(rng) };
            // The partition key's place, which is 0, and the data.
            message.extend(field(3, &[&[0x08, 0x00][..], &field(3, &bytes)].concat()));
            subs.extend(inside);
        }
        let sum = Md5::digest(&message);
        ([&[0xF3, 0x89, 0x9A, 0xC2][..], &message, &sum].concat(), subs)
    }

    /// Records with plain orders, in which each dish and each buyer comes.
    pub fn every(&mut self) -> Vec<Vec<u8>> {
        let mut records = Vec::new();
        for (dish, customer) in DISHES.iter().zip(BUYERS.iter().cycle()) {
            let order = json!({ "id": self.number(), "dish": dish, "customer": customer });
            let bytes = order.to_string().into_bytes();
            self.known.insert(bytes.clone(), vec![Sub::Order(order, bytes.clone())]);
            records.push(bytes);
        }
        records
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn order(&mut self, rng: &mut Rng) -> Value {
        let id = self.number();
        let mut order =
            json!({ "id": id, "dish": rng.pick(&DISHES), "customer": rng.pick(&BUYERS), "freshjoin": "no flag" });
        match rng.below(30) {
            0 => order["dish"] = Value::Null,
            1 => drop(order.as_object_mut().and_then(|members| members.remove("dish"))),
            2 => order["dish"] = json!(7),
            3 => order["customer"] = Value::Null,
            // Too long for any key.
            4 => order["dish"] = json!("x".repeat(1500)),
            _ => {}
        }
        order
    }

    /// Several objects one after the other, over lines or not.
    fn objects(&mut self, rng: &mut Rng) -> (Vec<u8>, Vec<Sub>) {
        let mut bytes = Vec::new();
        let mut subs = Vec::new();
        let separator = [&b"\n"[..], b" ", b"", b"\r\n\n"][rng.below(4)];
        for _ in 0..rng.between(2, 4) {
            let order = self.order(rng);
            let text = if rng.chance(300) { format!("{order:#}") } else { order.to_string() };
            bytes.extend_from_slice(text.as_bytes());
            bytes.extend_from_slice(separator);
            subs.push(Sub::Order(order, text.into_bytes()));
        }
        (bytes, subs)
    }

    /// Objects by line, a bad line among them.
    fn lines(&mut self, rng: &mut Rng) -> (Vec<u8>, Vec<Sub>) {
        let mut subs = Vec::new();
        for _ in 0..rng.between(1, 3) {
            let order = self.order(rng);
            let bytes = order.to_string().into_bytes();
            subs.push(Sub::Order(order, bytes));
        }
        let bad = Sub::Bad(format!("not json {}", self.number()).into_bytes());
        subs.insert(rng.below(subs.len() + 1), bad);
        let lines: Vec<&[u8]> = subs
            .iter()
            .map(|sub| match sub {
                Sub::Order(_, bytes) | Sub::Bad(bytes) => bytes.as_slice(),
            })
            .collect();
        (lines.join(&b'\n'), subs)
    }

    fn bad(&mut self, rng: &mut Rng) -> (Vec<u8>, Vec<Sub>) {
        let id = self.number();
        let bytes = match rng.below(6) {
            0 => Vec::new(),
            1 => [&b"\xff\xfe"[..], id.to_string().as_bytes()].concat(),
            2 => id.to_string().into_bytes(),
            3 => format!("{{\"dish\":{id}").into_bytes(),
            4 => format!("[{id}]\n\"x\"").into_bytes(),
            _ => format!("not json {id}").into_bytes(),
        };
        (bytes.clone(), vec![Sub::Bad(bytes)])
    }
}

/// A field of a protobuf message, of bytes.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![number << 3 | 2];
    let mut length = bytes.len();
    while length >= 0x80 {
        out.push((length & 0x7F) as u8 | 0x80);
        length >>= 7;
    }
    out.push(length as u8);
    out.extend_from_slice(bytes);
    out
}
