//! A server of a few lines: it accepts everyone, orders one update of each device, and serves one file.

use std::{
    collections::{HashMap, HashSet},
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Request, Response, body::Incoming, header, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use sha2::{Digest as _, Sha256};
use syncml::{
    Alert, Command, Encoding, Item, ItemCommand, Limits, Location, Message, Status, StatusCode, SyncBody,
    SyncHdr, decode,
};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// What the stub saw and is to do.
#[derive(Default)]
pub(crate) struct Stub {
    pub(crate) image: Vec<u8>,
    pub(crate) update: Option<&'static str>,
    pub(crate) address: Mutex<Option<SocketAddr>>,
    pub(crate) ranges: Mutex<Vec<String>>,
    /// Result codes, each alert once.
    pub(crate) alerts: Mutex<HashMap<String, String>>,
    pub(crate) ordered: Mutex<HashSet<String>>,
    /// A repeated message gets the answer that it got before.
    pub(crate) answers: Mutex<HashMap<(String, String, u32), Vec<u8>>>,
}

impl Stub {
    pub(crate) async fn serve(self: Arc<Self>) -> String {
        self.serve_with(None).await
    }

    /// HTTP/1.1 and HTTP/2, behind TLS where there is an acceptor.
    pub(crate) async fn serve_with(self: Arc<Self>, tls: Option<TlsAcceptor>) -> String {
        let scheme = if tls.is_some() { "https" } else { "http" };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        *self.address.lock().unwrap() = Some(address);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let stub = self.clone();
                let service = service_fn(move |request| {
                    let stub = stub.clone();
                    async move { Ok::<_, Infallible>(stub.answer(request).await) }
                });
                let tls = tls.clone();
                tokio::spawn(async move {
                    let builder = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
                    match tls {
                        None => drop(builder.serve_connection(TokioIo::new(stream), service).await),
                        Some(tls) => {
                            let Ok(stream) = tls.accept(stream).await else { return };
                            drop(builder.serve_connection(TokioIo::new(stream), service).await);
                        }
                    }
                });
            }
        });
        format!("{scheme}://localhost:{}/dm", address.port())
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        if request.uri().path() == "/fw.bin" {
            return self.file(&request);
        }
        let content_type = request.headers()[header::CONTENT_TYPE].to_str().unwrap().to_owned();
        let Ok(body) = request.into_body().collect().await else {
            return Response::builder().status(400).body(Full::default()).unwrap();
        };
        let body = body.to_bytes();
        let encoding = Encoding::of(Some(&content_type), &body).unwrap();
        let message = decode(encoding, &body, &Limits::default()).unwrap();
        let hdr = &message.hdr;
        let key = (hdr.source.loc_uri.to_string(), hdr.session_id.to_string(), hdr.msg_id);
        let kept = self.answers.lock().unwrap().get(&key).cloned();
        let answer = kept.unwrap_or_else(|| {
            let mut out = Vec::new();
            syncml::encode(encoding, &self.reply(&message), &mut out);
            self.answers.lock().unwrap().insert(key, out.clone());
            out
        });
        Response::builder()
            .header(header::CONTENT_TYPE, encoding.media_type())
            .body(Full::from(answer))
            .unwrap()
    }

    fn file(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        let digest = STANDARD.encode(Sha256::digest(&self.image));
        let builder = Response::builder().header("repr-digest", format!("sha-256=:{digest}:"));
        let Some(range) = request.headers().get(header::RANGE) else {
            return builder.body(Full::from(self.image.clone())).unwrap();
        };
        let range = range.to_str().unwrap().to_owned();
        let first: usize = range.trim_start_matches("bytes=").trim_end_matches('-').parse().unwrap();
        self.ranges.lock().unwrap().push(range);
        let (last, size) = (self.image.len() - 1, self.image.len());
        builder
            .status(206)
            .header(header::CONTENT_RANGE, format!("bytes {first}-{last}/{size}"))
            .body(Full::from(self.image[first..].to_vec()))
            .unwrap()
    }

    fn reply<'a>(&self, message: &'a Message<'a>) -> Message<'a> {
        let hdr = &message.hdr;
        let mut commands = Vec::new();
        let mut cmd_id = 0..;
        let mut status = |cmd_ref: &str, cmd: &str, code| {
            commands.push(Command::Status(Status {
                cmd_id: (cmd_id.next().unwrap() + 1).to_string().into(),
                msg_ref: Some(hdr.msg_id),
                cmd_ref: cmd_ref.to_owned().into(),
                cmd: cmd.to_owned().into(),
                target_refs: vec![],
                source_refs: vec![],
                cred: None,
                chal: None,
                data: StatusCode(code),
                items: vec![],
            }));
        };
        status("0", "SyncHdr", 212);
        let mut model = None;
        for command in &message.body.commands {
            match command {
                Command::Alert(alert) => {
                    status(&alert.cmd_id, "Alert", 200);
                    self.note_alert(&hdr.source.loc_uri, alert);
                }
                Command::Replace(replace) => {
                    status(&replace.cmd_id, "Replace", 200);
                    let of_model = |item: &&Item<'_>| {
                        item.source.as_ref().is_some_and(|source| source.loc_uri.ends_with("DevInfo/Mod"))
                    };
                    model = replace.items.iter().find(of_model).map(|item| text(item).to_owned());
                }
                _ => {}
            }
        }
        if let Some(model) = model {
            commands.extend(self.order(&hdr.source.loc_uri, &model));
        }
        let hdr = SyncHdr {
            ver_dtd: hdr.ver_dtd.clone(),
            ver_proto: hdr.ver_proto.clone(),
            session_id: hdr.session_id.clone(),
            msg_id: hdr.msg_id,
            target: hdr.source.clone(),
            source: hdr.target.clone(),
            ..SyncHdr::default()
        };
        Message { hdr, body: SyncBody { commands, is_final: true } }
    }

    fn note_alert(&self, device: &str, alert: &Alert<'_>) {
        for item in alert.items.iter().filter(|_| alert.code == Some(1226)) {
            self.alerts.lock().unwrap().insert(device.to_owned(), text(item).to_owned());
        }
    }

    /// Once a device, and only where one Exec does it all.
    fn order(&self, device: &str, model: &str) -> Vec<Command<'static>> {
        let root = match model {
            "A1" => "FUMO",
            "A2 Tab" => "FUMO/FwPkg",
            "Car 2" => "Vendor/FotaObject",
            _ => return vec![],
        };
        let Some(version) = self.update.filter(|_| self.ordered.lock().unwrap().insert(device.to_owned()))
        else {
            return vec![];
        };
        let url = format!("http://{}/fw.bin", self.address.lock().unwrap().unwrap());
        let item = |uri: &str, value: Option<&str>| Item {
            target: Some(Location { loc_uri: format!("./{root}/{uri}").into(), loc_name: None }),
            data: value.map(|value| syncml::Data::Text(value.to_owned().into())),
            ..Item::default()
        };
        let command = |id: &str, items: Vec<Item<'static>>, correlator: Option<&str>| ItemCommand {
            cmd_id: id.to_owned().into(),
            correlator: correlator.map(|correlator| correlator.to_owned().into()),
            items,
            ..ItemCommand::default()
        };
        vec![
            Command::Replace(command("90", vec![item("PkgVersion", Some(version))], None)),
            Command::Replace(command("91", vec![item("DownloadAndUpdate/PkgURL", Some(&url))], None)),
            Command::Exec(command("92", vec![item("DownloadAndUpdate", None)], Some("c-1"))),
        ]
    }
}

fn text<'a>(item: &'a Item<'_>) -> &'a str {
    match &item.data {
        Some(syncml::Data::Text(text)) => text,
        _ => "",
    }
}
