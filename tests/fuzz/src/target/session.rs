//! A control message, as sensor and brain take it from each other.

use wire::codec::{self, HEADER_LEN};
use wire::control::{
    Ack, Control, EnrolReply, EnrolRequest, Hello, Refusal, RuleOffer, RuleReply, Settings,
    SettingsReply, Welcome,
};
use wire::limits;

use super::batch::POSITION;
use super::frame::{self, CONTROL, PLAIN};
use super::{KIB, Target};

pub(super) const TARGET: Target = Target {
    name: "session",
    what: "a control message of a session or an enrolment",
    input_max: 4 * KIB,
    memory_max: 4 * limits::CONTROL_MAX,
    control: false,
    check,
    seeds,
};

fn check(body: &[u8]) {
    frame::decode(&frame::signed(CONTROL, PLAIN, body.len() as u32, body));
}

fn seeds() -> Vec<Vec<u8>> {
    let text = || "some text".to_owned();
    let messages = [
        Control::Ack(Ack { position: POSITION }),
        Control::Hello(Hello {
            hostname: text(),
            sensor_version: text(),
            kernel: text(),
            boot_id: text(),
            epoch: 7,
            cpus: 2,
        }),
        Control::Welcome(Welcome { durable: [1, 2], brain_unix_ns: 3 }),
        Control::Refusal(Refusal { reason: text(), message: text() }),
        Control::EnrolRequest(EnrolRequest {
            token: text(),
            hostname: text(),
            csr_der: vec![7; 32],
        }),
        Control::EnrolReply(EnrolReply { sensor_id: text(), certificate_der: vec![7; 32] }),
        Control::Settings(Settings { revision: text(), text: text() }),
        Control::SettingsReply(SettingsReply { revision: text(), problem: text() }),
        Control::RuleOffer(RuleOffer { revision: text() }),
        Control::RuleReply(RuleReply { revision: text(), wanted: true, rules: 3, problem: text() }),
    ];
    let body = |message| {
        let frame = codec::encode_control(&message).expect("it is short");
        frame[HEADER_LEN..].to_vec()
    };
    messages.into_iter().map(body).collect()
}
