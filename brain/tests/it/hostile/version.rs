//! Sensors that are older or newer than the brain: served, or told why not.

use std::net::SocketAddr;

use wire::codec;
use wire::control::{Control, Refusal};

use crate::brain::Brain;
use crate::peer::Peer;
use crate::sensor::{self, Identity, Session, enrol, fileless};

/// What a sensor of some version says of its protocol, and how it writes batches.
struct Sensor {
    what: &'static str,
    protocols: &'static [&'static [u8]],
    version: u16,
    in_rows: bool,
}

/// What a brain makes of one.
#[derive(Debug, PartialEq)]
enum Outcome {
    Served { protocol: String },
    Told { reason: String, message: String },
    NoProtocol,
}

const SENSORS: [Sensor; 5] = [
    Sensor {
        what: "two releases newer, which still knows ours",
        protocols: &[b"sakuramori/9", wire::ALPN_COLUMNS, wire::ALPN_SESSION],
        version: wire::VERSION,
        in_rows: false,
    },
    Sensor {
        what: "of this release",
        protocols: &[wire::ALPN_COLUMNS, wire::ALPN_SESSION],
        version: wire::VERSION,
        in_rows: false,
    },
    Sensor {
        what: "of the first release, which writes rows",
        protocols: &[wire::ALPN_SESSION],
        version: wire::VERSION,
        in_rows: true,
    },
    Sensor {
        what: "whose frames are newer",
        protocols: &[wire::ALPN_COLUMNS],
        version: wire::VERSION + 2,
        in_rows: false,
    },
    Sensor {
        what: "that knows nothing of ours",
        protocols: &[b"sakuramori/9"],
        version: wire::VERSION + 2,
        in_rows: false,
    },
];

fn versioned(mut frame: Vec<u8>, version: u16) -> Vec<u8> {
    frame[4..6].copy_from_slice(&version.to_le_bytes());
    frame
}

impl Sensor {
    async fn meet(&self, brain: SocketAddr, identity: &Identity, seq: u64) -> Outcome {
        let peer = Peer::new(b"", Some(identity)).offering(self.protocols);
        let Ok(connection) = peer.connect(brain).await else { return Outcome::NoProtocol };
        let data = connection.handshake_data().unwrap();
        let data = data.downcast::<quinn::crypto::rustls::HandshakeData>().unwrap();
        let protocol = String::from_utf8(data.protocol.unwrap()).unwrap();
        let (mut control, mut answers) = connection.open_bi().await.unwrap();
        let hello = codec::encode_control(&Control::Hello(sensor::hello(1))).unwrap();
        control.write_all(&versioned(hello, self.version)).await.unwrap();
        let welcome = match sensor::read(&mut answers).await {
            Some(Control::Welcome(welcome)) => welcome,
            Some(Control::Refusal(Refusal { reason, message })) => {
                return Outcome::Told { reason, message };
            }
            other => panic!("{other:?}"),
        };
        let mut session = Session { connection, control, answers, welcome };
        let mut frame = codec::encode_batch(&fileless(1, seq, "x")).unwrap();
        if self.in_rows {
            frame = codec::in_rows(&frame).unwrap().into_owned();
        }
        let mut lane = session.connection.open_uni().await.unwrap();
        lane.write_all(&frame).await.unwrap();
        loop {
            match sensor::read(&mut session.answers).await {
                // A brain that knows columns also asks what the time is.
                Some(Control::TimeProbe(_)) if !self.in_rows => {}
                Some(Control::Ack(ack)) if ack.position.seq == seq => {
                    return Outcome::Served { protocol };
                }
                other => panic!("{other:?}"),
            }
        }
    }
}

#[tokio::test]
async fn every_version_is_served_or_told_why_not() {
    let brain = Brain::start().await;
    let token = brain.access.join_token(1, 60).await;
    let identity = enrol(brain.access.quic, &token, "h").await.unwrap();
    let mut outcomes = Vec::new();
    for (seq, sensor) in (1..).zip(&SENSORS) {
        let outcome = sensor.meet(brain.access.quic, &identity, seq).await;
        println!("figure T-11: a sensor {}: {outcome:?}", sensor.what);
        outcomes.push(outcome);
    }
    let columns = String::from_utf8(wire::ALPN_COLUMNS.to_vec()).unwrap();
    let rows = String::from_utf8(wire::ALPN_SESSION.to_vec()).unwrap();
    let served = |protocol: &str| Outcome::Served { protocol: protocol.to_owned() };
    assert_eq!(outcomes[..3], [served(&columns), served(&columns), served(&rows)]);
    let Outcome::Told { reason, message } = &outcomes[3] else { panic!("{:?}", outcomes[3]) };
    assert_eq!(reason, "unknown_version");
    assert!(message.contains("upgrade"), "{message}");
    assert_eq!(outcomes[4], Outcome::NoProtocol);
    assert_eq!(brain.access.refused("no_common_protocol").await, 1);
}
