//! A device as a map of leaves, which answers what it is asked.

use std::collections::BTreeMap;

use bytes::Bytes;
use dm_protocol::{Scheme, auth};
use http::Response;
use syncml::{
    Alert, Command, Cred, Data, Encoding, Item, ItemCommand, Limits, Location, Message, Meta, Results,
    Status, StatusCode, SyncBody, SyncHdr, decode, encode,
};

use super::Front;

pub struct Client {
    pub id: String,
    pub auth: Option<Scheme>,
    pub encoding: Encoding,
    pub session_id: String,
    pub nonce: Vec<u8>,
    /// Leaves by address (`./DevDetail/FwV`).
    pub tree: BTreeMap<String, String>,
    /// Every Exec that arrived: target and correlator.
    pub execs: Vec<(String, Option<String>)>,
    /// What an Exec is answered.
    pub exec_status: StatusCode,
    /// Where the next message goes.
    pub path: String,
    pub password: String,
    /// Where it comes from, as a proxy says it.
    pub forwarded_for: Option<String>,
    msg_id: u32,
    with_cred: bool,
}

/// What came back: the HTTP answer, its message, and the octets that were sent for it.
pub struct Exchange {
    pub sent: Vec<u8>,
    pub response: Response<Bytes>,
    pub message: Message<'static>,
}

impl Client {
    pub fn new(id: &str, auth: Option<Scheme>, encoding: Encoding) -> Self {
        let leaves = [
            ("./DevInfo/DevId", id),
            ("./DevInfo/Man", "Example Works"),
            ("./DevInfo/Mod", "EW-42"),
            ("./DevInfo/DmV", "1.2"),
            ("./DevInfo/Lang", "en"),
            ("./DevDetail/FwV", "1.0"),
            ("./DevDetail/SwV", "1.0-sw"),
            ("./DevDetail/HwV", "rev-c"),
            ("./DevDetail/DevTyp", "gateway"),
            ("./DevDetail/OEM", "Example Works"),
            ("./DevDetail/LrgObj", "true"),
        ];
        Self {
            id: id.to_owned(),
            auth,
            encoding,
            session_id: "1".to_owned(),
            nonce: Vec::new(),
            tree: leaves.iter().map(|(uri, value)| ((*uri).to_owned(), (*value).to_owned())).collect(),
            execs: Vec::new(),
            exec_status: StatusCode::ACCEPTED,
            path: "/dm".to_owned(),
            password: "password".to_owned(),
            forwarded_for: None,
            msg_id: 0,
            with_cred: true,
        }
    }

    pub fn with_fumo(mut self) -> Self {
        for (uri, value) in [
            ("./FUMO/Pkg/DownloadAndUpdate/PkgURL", ""),
            ("./FUMO/Pkg/PkgName", ""),
            ("./FUMO/Pkg/State", "10"),
        ] {
            self.tree.insert(uri.to_owned(), value.to_owned());
        }
        self
    }

    /// Begins another session.
    pub fn begin(&mut self, session_id: &str) {
        session_id.clone_into(&mut self.session_id);
        "/dm".clone_into(&mut self.path);
        self.msg_id = 0;
        self.with_cred = true;
    }

    /// A whole session with these alerts in package 1; answers every exchange.
    pub async fn run(&mut self, front: &Front, session_id: &str, alerts: &[Alert<'static>]) -> Vec<Exchange> {
        self.begin(session_id);
        let first = self.package_1(alerts);
        let mut exchanges = vec![self.post(front, first).await];
        for _ in 0..20 {
            let Some(next) = self.answer(&exchanges.last().unwrap().message, alerts) else {
                return exchanges;
            };
            exchanges.push(self.post(front, next).await);
        }
        panic!("the session does not end");
    }

    /// Sends a message and reads the answer.
    pub async fn post(&mut self, front: &Front, message: Message<'_>) -> Exchange {
        let mut sent = Vec::new();
        encode(self.encoding, &message, &mut sent);
        self.repeat(front, sent).await
    }

    /// Sends octets and reads the answer.
    pub async fn repeat(&mut self, front: &Front, sent: Vec<u8>) -> Exchange {
        let (media_type, from) = (Some(self.encoding.media_type()), self.forwarded_for.as_deref());
        let response = front.post_from(&self.path, media_type, sent.clone(), from).await;
        assert_eq!(response.status(), 200, "{:?}", response.body());
        let message = read(self.encoding, response.body());
        Exchange { sent, response, message }
    }

    /// Package 1: alerts, 1201, DevInfo.
    pub fn package_1(&mut self, alerts: &[Alert<'static>]) -> Message<'static> {
        let mut commands: Vec<Command<'static>> = alerts.iter().cloned().map(Command::Alert).collect();
        commands.push(Command::Alert(Alert { code: Some(1201), ..Alert::default() }));
        let dev_info = self.tree.iter().filter(|(uri, _)| uri.starts_with("./DevInfo/"));
        let items = dev_info.map(|(uri, value)| leaf(uri, value)).collect();
        commands.push(Command::Replace(ItemCommand { items, ..ItemCommand::default() }));
        self.message(commands)
    }

    /// The next message to a server's; `None` when there is nothing to say.
    pub fn answer(&mut self, server: &Message<'_>, alerts: &[Alert<'static>]) -> Option<Message<'static>> {
        if let Some(uri) = &server.hdr.resp_uri {
            self.path = format!("/{}", uri.splitn(4, '/').nth(3).unwrap());
        }
        let mut challenged = false;
        for command in &server.body.commands {
            let Command::Status(Status { cmd_ref, chal, data, .. }) = command else { continue };
            if let Some(nonce) = chal.as_ref().and_then(|chal| chal.next_nonce.as_deref()) {
                self.nonce = auth::parse_base64(nonce).unwrap();
            }
            if cmd_ref == "0" {
                challenged = chal.is_some() && matches!(data.0, 401 | 407);
                self.with_cred = data.0 != 212;
            }
        }
        let mut commands = vec![self.status(server, "0", "SyncHdr", None, StatusCode::OK)];
        if challenged {
            let package = self.package_1(alerts);
            self.msg_id -= 1;
            commands.extend(package.body.commands);
            return Some(self.message(commands));
        }
        for command in &server.body.commands {
            self.obey(server, command, &mut commands);
        }
        // Nothing but the Status for the header: the session is over.
        (commands.len() > 1).then(|| self.message(commands))
    }

    fn obey(&mut self, server: &Message<'_>, command: &Command<'_>, out: &mut Vec<Command<'static>>) {
        match command {
            Command::Get(get) => {
                for item in &get.items {
                    let uri = item.target.as_ref().unwrap().loc_uri.clone().into_owned();
                    let found = self.read(&uri);
                    let code = if found.is_some() { StatusCode::OK } else { StatusCode::NOT_FOUND };
                    out.push(self.status(server, &get.cmd_id, "Get", Some(&uri), code));
                    if let Some(item) = found {
                        out.push(Command::Results(Results {
                            msg_ref: Some(server.hdr.msg_id),
                            cmd_ref: Some(get.cmd_id.clone().into_owned().into()),
                            items: vec![item],
                            ..Results::default()
                        }));
                    }
                }
            }
            Command::Replace(replace) => {
                for item in &replace.items {
                    let uri = item.target.as_ref().unwrap().loc_uri.clone().into_owned();
                    let value = item.data.as_ref().and_then(Data::as_text).unwrap_or_default().to_owned();
                    let known = self.tree.get_mut(&uri).map(|leaf| *leaf = value);
                    let code = if known.is_some() { StatusCode::OK } else { StatusCode::NOT_FOUND };
                    out.push(self.status(server, &replace.cmd_id, "Replace", Some(&uri), code));
                }
            }
            Command::Exec(exec) => {
                let uri = exec.items[0].target.as_ref().unwrap().loc_uri.clone().into_owned();
                self.execs.push((uri.clone(), exec.correlator.as_ref().map(ToString::to_string)));
                out.push(self.status(server, &exec.cmd_id, "Exec", Some(&uri), self.exec_status));
            }
            Command::Status(_) => {}
            other => panic!("not expected of this server: {other:?}"),
        }
    }

    fn read(&self, uri: &str) -> Option<Item<'static>> {
        if let Some(value) = self.tree.get(uri) {
            return Some(leaf(uri, value));
        }
        let below = format!("{}/", uri.trim_end_matches('/'));
        let mut children: Vec<&str> = self
            .tree
            .keys()
            .filter_map(|leaf| leaf.strip_prefix(&below))
            .map(|rest| rest.split('/').next().unwrap())
            .collect();
        children.dedup();
        (!children.is_empty()).then(|| {
            let mut item = leaf(uri, &children.join("/"));
            item.meta = Some(Box::new(Meta { format: Some("node".into()), ..Meta::default() }));
            item
        })
    }

    fn status(
        &self,
        server: &Message<'_>,
        cmd_ref: &str,
        cmd: &'static str,
        target: Option<&str>,
        data: StatusCode,
    ) -> Command<'static> {
        Command::Status(Status {
            msg_ref: Some(server.hdr.msg_id),
            cmd_ref: cmd_ref.to_owned().into(),
            cmd: cmd.into(),
            target_refs: target.map(|uri| uri.to_owned().into()).into_iter().collect(),
            data,
            ..Status::default()
        })
    }

    /// Numbers the commands and puts the header before them.
    fn message(&mut self, mut commands: Vec<Command<'static>>) -> Message<'static> {
        self.msg_id += 1;
        for (at, command) in commands.iter_mut().enumerate() {
            let number = (at + 1).to_string().into();
            match command {
                Command::Alert(command) => command.cmd_id = number,
                Command::Replace(command) => command.cmd_id = number,
                Command::Results(command) => command.cmd_id = number,
                Command::Status(command) => command.cmd_id = number,
                other => panic!("not sent by this client: {other:?}"),
            }
        }
        let location = |uri: &str| Location { loc_uri: uri.to_owned().into(), loc_name: None };
        let hdr = SyncHdr {
            ver_dtd: "1.2".into(),
            ver_proto: "DM/1.2".into(),
            session_id: self.session_id.clone().into(),
            msg_id: self.msg_id,
            target: location("http://127.0.0.1/dm"),
            source: location(&self.id),
            cred: self.cred(),
            meta: Some(Box::new(Meta { max_msg_size: Some(16_384), ..Meta::default() })),
            ..SyncHdr::default()
        };
        Message { hdr, body: SyncBody { commands, is_final: true } }
    }

    fn cred(&self) -> Option<Cred<'static>> {
        let scheme = self.auth.filter(|_| self.with_cred)?;
        let digest = auth::user_digest("user", &self.password);
        let data = match scheme {
            Scheme::Basic => auth::basic_credential("user", &self.password),
            Scheme::Md5 => auth::md5_credential_base64(&digest, &self.nonce),
        };
        let meta = Meta { format: Some("b64".into()), type_: Some(scheme.name().into()), ..Meta::default() };
        Some(Cred { meta: Some(Box::new(meta)), data: data.into() })
    }
}

fn leaf(uri: &str, value: &str) -> Item<'static> {
    Item {
        source: Some(Location { loc_uri: uri.to_owned().into(), loc_name: None }),
        data: Some(Data::Text(value.to_owned().into())),
        ..Item::default()
    }
}

/// The alert that reports the end of an update.
pub fn report(correlator: &str, code: u16) -> Alert<'static> {
    let type_ = "org.openmobilealliance.dm.firmwareupdate.downloadandupdate";
    let meta = Meta { format: Some("int".into()), type_: Some(type_.into()), ..Meta::default() };
    let item = Item { meta: Some(Box::new(meta)), ..leaf("./FUMO/Pkg/DownloadAndUpdate", &code.to_string()) };
    Alert {
        code: Some(1226),
        correlator: Some(correlator.to_owned().into()),
        items: vec![item],
        ..Alert::default()
    }
}

pub fn read(encoding: Encoding, body: &[u8]) -> Message<'static> {
    decode(encoding, body, &Limits::default())
        .unwrap_or_else(|error| panic!("{error} in {:?}", String::from_utf8_lossy(body)))
        .into_owned()
}

/// The Status that a message has for the header of the one before.
pub fn header_status(message: &Message<'_>) -> u16 {
    let of_header = |command: &Command<'_>| match command {
        Command::Status(status) if status.cmd_ref == "0" => Some(status.data.0),
        _ => None,
    };
    message.body.commands.iter().find_map(of_header).expect("every answer has a Status for SyncHdr")
}
