//! What stands in the log when everything is logged.

use std::fs::File;

use super::common::{Server, client, stderr};

const DEVICE: &str = "IMEI:of-the-log";
const PASSWORD: &str = "pa55-of-the-device";
const WRONG: &str = "pa55-that-was-tried";
const SERVER_PASSWORD: &str = "pa55-of-the-server";
const USER: &str = "user-of-the-log";

fn message(session: &str, msg_id: u32, device: &str, cred: &str) -> String {
    format!(
        "<SyncML xmlns='SYNCML:SYNCML1.2'><SyncHdr><VerDTD>1.2</VerDTD><VerProto>DM/1.2</VerProto>\
         <SessionID>{session}</SessionID><MsgID>{msg_id}</MsgID><Target><LocURI>http://127.0.0.1/dm</LocURI></Target>\
         <Source><LocURI>{device}</LocURI></Source>{cred}</SyncHdr><SyncBody>\
         <Alert><CmdID>1</CmdID><Data>1201</Data></Alert><Replace><CmdID>2</CmdID>\
         <Item><Source><LocURI>./DevInfo/DevId</LocURI></Source><Data>{device}</Data></Item>\
         <Item><Source><LocURI>./DevInfo/Man</LocURI></Source><Data>Acme</Data></Item>\
         <Item><Source><LocURI>./DevInfo/Mod</LocURI></Source><Data>R1</Data></Item>\
         <Item><Source><LocURI>./DevInfo/DmV</LocURI></Source><Data>1.2</Data></Item>\
         <Item><Source><LocURI>./DevInfo/Lang</LocURI></Source><Data>en</Data></Item>\
         </Replace><Final/></SyncBody></SyncML>"
    )
}

fn cred(scheme: &str, data: &str) -> String {
    format!(
        "<Cred><Meta><Format xmlns='syncml:metinf'>b64</Format><Type xmlns='syncml:metinf'>syncml:auth-{scheme}</Type>\
         </Meta><Data>{data}</Data></Cred>"
    )
}

/// The answer's status code and text.
fn post(server: &Server, body: &str) -> (u16, String) {
    let request = ureq::post(&server.devices).header("content-type", "application/vnd.syncml.dm+xml");
    let request = request.config().http_status_as_error(false).build();
    let mut answer = request.send(body).unwrap();
    (answer.status().as_u16(), answer.body_mut().read_to_string().unwrap())
}

fn between<'a>(text: &'a str, before: &str, after: &str) -> &'a str {
    let (_, rest) = text.split_once(before).unwrap_or_else(|| panic!("{before} is missing in {text}"));
    let begins = rest.find('>').map_or(0, |at| at + 1);
    rest[begins..].split(after).next().unwrap()
}

/// Starts a server that logs everything, works with it, and answers its log.
fn log_of(format: &str, work: impl FnOnce(&Server, &std::path::Path)) -> String {
    let folder = tempfile::tempdir().unwrap();
    let (data, log) = (folder.path().join("data"), folder.path().join("log"));
    let environment =
        [("FLOTILLA__TELEMETRY__LEVEL", "trace"), ("FLOTILLA__TELEMETRY__FORMAT", format), ("NO_COLOR", "1")];
    let server = Server::start_logging(&data, &environment, File::create(&log).unwrap());
    work(&server, &data);
    assert_eq!(server.terminate().code(), Some(0));
    String::from_utf8(std::fs::read(&log).unwrap()).expect("a log is text")
}

#[test]
fn a_log_of_everything_shows_no_secret() {
    for format in ["human", "json"] {
        let mut secrets: Vec<String> =
            [PASSWORD, WRONG, SERVER_PASSWORD, "token-that-was-tried"].map(str::to_owned).to_vec();
        let log = log_of(format, |server, data| {
            for scheme in ["md5", "basic"] {
                let rows = format!(
                    "{{\"id\":\"{DEVICE}-{scheme}\",\"auth\":\"{scheme}\",\"user\":\"{USER}\",\"password\":\"{PASSWORD}\",\
                     \"server_id\":\"srv\",\"server_password\":\"{SERVER_PASSWORD}\"}}\n"
                );
                let file = data.join(format!("{scheme}.ndjson"));
                std::fs::write(&file, rows).unwrap();
                let added = client(server, data, &["device", "import", file.to_str().unwrap()], "");
                assert!(added.status.success(), "{}", stderr(&added));
                // The import's own file is no part of the server.
                std::fs::remove_file(file).unwrap();
            }
            let refused = client(server, data, &["device", "list", "--token", "token-that-was-tried"], "");
            assert!(!refused.status.success());
            secrets.push(std::fs::read_to_string(data.join("admin.token")).unwrap().trim().to_owned());

            let basic = |password| dm_protocol::auth::basic_credential(USER, password);
            for (session, password) in [("1", WRONG), ("2", PASSWORD)] {
                let credential = basic(password);
                let device = format!("{DEVICE}-basic");
                let (code, answer) = post(server, &message(session, 1, &device, &cred("basic", &credential)));
                assert_eq!((code, answer.contains(">212<")), (200, password == PASSWORD), "{answer}");
                secrets.push(credential);
            }
            let device = format!("{DEVICE}-md5");
            let (_, challenge) = post(server, &message("1", 1, &device, ""));
            let nonce = between(&challenge, "<NextNonce", "<").to_owned();
            let digest = dm_protocol::auth::user_digest(USER, PASSWORD);
            let octets = dm_protocol::auth::parse_base64(&nonce).unwrap();
            let credential = dm_protocol::auth::md5_credential_base64(&digest, &octets);
            let (_, answer) = post(server, &message("1", 2, &device, &cred("md5", &credential)));
            assert!(answer.contains(">212<"), "{answer}");
            secrets.extend([String::from_utf8(octets).unwrap(), nonce, credential]);
            secrets.push(between(&answer, "<NextNonce", "<").to_owned());
        });
        // It is a log of everything: messages are in it, and who sent them.
        assert!(log.lines().count() > 8 && log.contains(&format!("{DEVICE}-md5")), "{log}");
        for secret in secrets {
            assert!(secret.len() >= 8, "too short to look for: {secret}");
            let line = log.lines().find(|line| line.contains(&secret));
            assert_eq!(line, None, "{format}: {secret}");
        }
    }
}

#[test]
fn what_a_device_sends_cannot_forge_a_line_of_the_log() {
    const FORGED: &str = "x\n2026-01-01T00:00:00Z ERROR forged\r\u{1b}[31m\u{9b}31m";
    let escaped = FORGED.replace('\n', "&#10;").replace('\r', "&#13;").replace('\u{9b}', "&#155;");
    // XML carries no escape character; WBXML does.
    let escaped = escaped.replace('\u{1b}', "");
    for format in ["human", "json"] {
        let log = log_of(format, |server, data| {
            let added = client(server, data, &["device", "add", "--id", "d1", "--auth", "none"], "");
            assert!(added.status.success(), "{}", stderr(&added));
            let good = message("1", 1, "d1", "");
            for body in [
                message("1", 1, &escaped, ""),
                message(&escaped, 1, "d1", ""),
                good.replace("DM/1.2", &escaped),
                good.replace("1201", &escaped),
                good.replace("<VerDTD>1.2", &format!("<VerDTD>{escaped}")),
                good.replace("http://127.0.0.1/dm", &escaped),
                good.replace("<MsgID>1", &format!("<MsgID>{escaped}")),
                good.replace("./DevInfo/Man", &escaped),
                good.replace("<Final/>", &format!("<{FORGED}/>")),
                good.replace("<Final/>", &format!("<a b='{FORGED}'/>")),
            ] {
                post(server, &body);
            }
            // Version 1.2, DM 1.2, UTF-8, no string table; SyncML, SyncHdr, SessionID as an inline string.
            let mut wbxml = vec![0x02, 0xa4, 0x01, 0x6a, 0x00, 0x6d, 0x6c, 0x65, 0x03];
            wbxml.extend_from_slice(FORGED.as_bytes());
            wbxml.extend_from_slice(&[0x00, 0x01, 0x01, 0x01]);
            let request =
                ureq::post(&server.devices).header("content-type", "application/vnd.syncml.dm+wbxml");
            let request = request.config().http_status_as_error(false).build();
            assert!(request.send(&wbxml[..]).unwrap().status().as_u16() >= 400);
            client(server, data, &["device", "show", FORGED], "");
        });
        assert!(log.contains("forged"), "what was sent is logged, in some form: {log}");
        for line in log.split('\n') {
            let line = line.strip_suffix('\r').unwrap_or(line);
            assert!(!line.contains(|c: char| c.is_control() && c != '\t'), "{format}: {line:?}");
            let begins_well = match format {
                "json" => line.is_empty() || serde_json::from_str::<serde_json::Value>(line).is_ok(),
                _ => !line.starts_with("2026-01-01T00:00:00Z"),
            };
            assert!(begins_well, "{format}: {line:?}");
        }
    }
}
