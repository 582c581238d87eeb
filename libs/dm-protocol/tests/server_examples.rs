//! The conversations of the protocol reference, message by message, against the server's session.

use dm_protocol::{
    Account, ClientAuth, Nonces, Scheme, ServerAuth, auth,
    server::{Draft, Ending, Event, Handled, Input, ServerSession, Settings},
};
use jiff::Timestamp;
use syncml::{Command, Encoding, Limits, Message, Status, StatusCode, decode};

const DEVICE: &str = "IMEI:350000000000006";

fn account() -> Account {
    Account {
        client: ClientAuth::Password {
            scheme: Scheme::Md5,
            user: "dev-0042".into(),
            digest: auth::user_digest("dev-0042", "k9-Lantern"),
        },
        server: Some(ServerAuth {
            server_id: "dm.example.org".into(),
            password: "Quarry-7s".into(),
            scheme: Scheme::Md5,
        }),
        nonces: Nonces { client: None, client_previous: None, server: Some((0xA0..=0xAF).collect()) },
    }
}

fn message(session: &str, msg_id: u32, cred: &str, body: &str) -> String {
    let cred = if cred.is_empty() {
        String::new()
    } else {
        format!(
            "<Cred><Meta><Format xmlns=\"syncml:metinf\">b64</Format><Type xmlns=\"syncml:metinf\">syncml:auth-md5</Type></Meta><Data>{cred}</Data></Cred>"
        )
    };
    format!(
        "<SyncML xmlns=\"SYNCML:SYNCML1.2\"><SyncHdr><VerDTD>1.2</VerDTD><VerProto>DM/1.2</VerProto><SessionID>{session}</SessionID><MsgID>{msg_id}</MsgID><Target><LocURI>https://dm.example.org/dm</LocURI></Target><Source><LocURI>{DEVICE}</LocURI></Source>{cred}<Meta><MaxMsgSize xmlns=\"syncml:metinf\">8192</MaxMsgSize></Meta></SyncHdr><SyncBody>{body}</SyncBody></SyncML>"
    )
}

fn dev_info(first_cmd_id: u32) -> String {
    format!(
        "<Alert><CmdID>{first_cmd_id}</CmdID><Data>1201</Data></Alert><Replace><CmdID>{}</CmdID><Item><Source><LocURI>./DevInfo/DevId</LocURI></Source><Data>{DEVICE}</Data></Item><Item><Source><LocURI>./DevInfo/Man</LocURI></Source><Data>Example Works</Data></Item></Replace><Final/>",
        first_cmd_id + 1
    )
}

struct Peer {
    session: Option<ServerSession>,
    account: Account,
    settings: Settings,
    step: u8,
}

impl Peer {
    fn send(&mut self, text: &str, drafts: &[Draft]) -> (Vec<Event>, Vec<u8>) {
        let message = decode(Encoding::Xml, text.as_bytes(), &Limits::default()).unwrap();
        let mut session = match self.session.take() {
            Some(session) => ServerSession::decode(&session.encode()).unwrap(),
            None => ServerSession::open(&message, Encoding::Xml).unwrap(),
        };
        self.step += 1;
        let input = Input {
            now: Timestamp::from_second(1_700_000_000).unwrap(),
            encoding: Encoding::Xml,
            message: &message,
            body: text.as_bytes(),
            account: Some(&self.account),
            entropy: [self.step; 32],
        };
        assert_eq!(session.handle_message(&self.settings, input), Handled::New);
        let mut events = Vec::new();
        while let Some(event) = session.poll_event() {
            if event == Event::WantsCommands {
                for (tag, draft) in (1..).zip(drafts) {
                    session.enqueue(tag, draft.clone()).unwrap();
                }
            }
            if let Event::NoncesChanged { nonces, server_scheme } = &event {
                self.account.nonces = nonces.clone();
                if let (Some(scheme), Some(server)) = (server_scheme, &mut self.account.server) {
                    server.scheme = *scheme;
                }
            }
            events.push(event);
        }
        let mut reply = Vec::new();
        session.write_reply(&self.settings, &mut reply);
        while let Some(event) = session.poll_event() {
            events.push(event);
        }
        self.session = Some(session);
        (events, reply)
    }
}

fn statuses<'a>(message: &'a Message<'_>) -> Vec<(&'a str, &'a str, u16)> {
    let status = |command: &'a Command<'_>| match command {
        Command::Status(Status { cmd_ref, cmd, data, .. }) => Some((cmd_ref.as_ref(), cmd.as_ref(), data.0)),
        _ => None,
    };
    message.body.commands.iter().filter_map(status).collect()
}

fn chal_nonce(message: &Message<'_>) -> Vec<u8> {
    let Command::Status(status) = &message.body.commands[0] else { panic!("no status first") };
    let chal = status.chal.as_ref().expect("a challenge");
    auth::parse_base64(chal.next_nonce.as_deref().expect("a nonce")).unwrap()
}

#[test]
fn a_session_challenges_authenticates_commands_and_ends() {
    let mut peer = Peer { session: None, account: account(), settings: Settings::default(), step: 0 };
    let digest = auth::user_digest("dev-0042", "k9-Lantern");

    let (events, reply) = peer.send(&message("2A", 1, "", &dev_info(1)), &[]);
    assert_eq!(events, []);
    let answer = decode(Encoding::Xml, &reply, &Limits::default()).unwrap();
    assert_eq!(statuses(&answer), [("0", "SyncHdr", 407), ("1", "Alert", 407), ("2", "Replace", 407)]);
    assert!(answer.body.is_final);
    assert_eq!(answer.hdr.cred, None);

    let cred = auth::md5_credential_base64(&digest, &chal_nonce(&answer));
    let get = Draft::Get(vec!["./DevDetail/SwV".into(), "DevDetail/NoSuchNode".into()]);
    let text = message(
        "2A",
        2,
        &cred,
        &format!(
            "<Status><CmdID>1</CmdID><MsgRef>1</MsgRef><CmdRef>0</CmdRef><Cmd>SyncHdr</Cmd><Data>200</Data></Status>{}",
            dev_info(2)
        ),
    );
    let (events, reply) = peer.send(&text, &[get]);
    assert_eq!(events[0], Event::Authenticated);
    assert_eq!(events.last(), Some(&Event::WantsCommands));
    let answer = decode(Encoding::Xml, &reply, &Limits::default()).unwrap();
    assert_eq!(statuses(&answer), [("0", "SyncHdr", 212), ("2", "Alert", 200), ("3", "Replace", 200)]);
    assert_eq!(answer.hdr.cred.as_ref().unwrap().data, "bKokE4M4XNf1tJH7b7VR+A==");
    assert_eq!(peer.account.nonces.client.as_deref(), Some(&chal_nonce(&answer)[..]));
    let Command::Get(get) = &answer.body.commands[3] else { panic!("no get") };
    assert_eq!(get.cmd_id, "4");

    let body = "<Status><CmdID>1</CmdID><MsgRef>2</MsgRef><CmdRef>0</CmdRef><Cmd>SyncHdr</Cmd><Chal><Meta><Format xmlns=\"syncml:metinf\">b64</Format><Type xmlns=\"syncml:metinf\">syncml:auth-md5</Type><NextNonce xmlns=\"syncml:metinf\">sLGys7S1tre4ubq7vL2+vw==</NextNonce></Meta></Chal><Data>212</Data></Status><Status><CmdID>2</CmdID><MsgRef>2</MsgRef><CmdRef>4</CmdRef><Cmd>Get</Cmd><TargetRef>./DevDetail/SwV</TargetRef><Data>200</Data></Status><Status><CmdID>3</CmdID><MsgRef>2</MsgRef><CmdRef>4</CmdRef><Cmd>Get</Cmd><TargetRef>./DevDetail/NoSuchNode</TargetRef><Data>404</Data></Status><Results><CmdID>4</CmdID><MsgRef>2</MsgRef><CmdRef>4</CmdRef><Item><Source><LocURI>./DevDetail/SwV</LocURI></Source><Data>7.1.4-eng</Data></Item></Results><Final/>";
    let (events, reply) = peer.send(&message("2A", 3, "", body), &[]);
    let status = |target: &str, code| Event::Status {
        tag: 1,
        target: Some(target.to_owned()),
        code: StatusCode(code),
        items: vec![],
    };
    assert_eq!(peer.account.nonces.server, Some((0xB0..=0xBF).collect()));
    assert_eq!(
        events[1..],
        [
            status("DevDetail/SwV", 200),
            status("DevDetail/NoSuchNode", 404),
            Event::Result { tag: 1, uri: "DevDetail/SwV".into(), leaf: dm_tree::Leaf::text("7.1.4-eng") },
            Event::WantsCommands,
            Event::Ended(Ending::Done),
        ]
    );
    let answer = decode(Encoding::Xml, &reply, &Limits::default()).unwrap();
    assert_eq!(statuses(&answer), [("0", "SyncHdr", 200)]);
    assert!(answer.body.is_final && answer.hdr.cred.is_none());
    assert!(peer.session.unwrap().is_over());
}
