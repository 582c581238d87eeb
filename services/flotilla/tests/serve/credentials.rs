//! Credentials of a device that are replaced while the server runs.

use dm_protocol::auth;

use super::common::{Server, client, stderr, stdout};

/// What the server's answer says of the message.
struct Answer {
    /// The status of its header: 212 and 200 let in, 401 does not.
    status: u16,
    /// The nonce that the next credential is made with.
    nonce: Vec<u8>,
}

/// A message of `d1` to `to`; without a digest it has no credential.
fn send(to: &str, (session, number): (u32, u32), credential: Option<(&[u8; 16], &[u8])>) -> Answer {
    let credential = credential.map_or_else(String::new, |(digest, nonce)| {
        let data = auth::md5_credential_base64(digest, nonce);
        format!("<Cred><Meta><Format xmlns='syncml:metinf'>b64</Format><Type xmlns='syncml:metinf'>syncml:auth-md5</Type></Meta><Data>{data}</Data></Cred>")
    });
    let body = if number == 1 {
        "<Alert><CmdID>1</CmdID><Data>1201</Data></Alert><Replace><CmdID>2</CmdID>\
         <Item><Source><LocURI>./DevInfo/DevId</LocURI></Source><Data>d1</Data></Item>\
         <Item><Source><LocURI>./DevInfo/Man</LocURI></Source><Data>Acme</Data></Item>\
         <Item><Source><LocURI>./DevInfo/Mod</LocURI></Source><Data>R1</Data></Item>\
         <Item><Source><LocURI>./DevInfo/DmV</LocURI></Source><Data>1.2</Data></Item>\
         <Item><Source><LocURI>./DevInfo/Lang</LocURI></Source><Data>en</Data></Item></Replace>"
    } else {
        "<Status><CmdID>1</CmdID><MsgRef>1</MsgRef><CmdRef>0</CmdRef><Cmd>SyncHdr</Cmd><Data>212</Data></Status>"
    };
    let message = format!(
        "<SyncML xmlns='SYNCML:SYNCML1.2'><SyncHdr><VerDTD>1.2</VerDTD><VerProto>DM/1.2</VerProto>\
         <SessionID>{session}</SessionID><MsgID>{number}</MsgID><Target><LocURI>http://127.0.0.1/dm</LocURI></Target>\
         <Source><LocURI>d1</LocURI></Source>{credential}</SyncHdr><SyncBody>{body}<Final/></SyncBody></SyncML>"
    );
    let answer =
        ureq::post(to).header("content-type", "application/vnd.syncml.dm+xml").send(message).unwrap();
    let answer = answer.into_body().read_to_string().unwrap();
    // The status of the header comes first.
    let (_, rest) = answer.split_once("<Cmd>SyncHdr</Cmd>").unwrap_or_else(|| panic!("{answer}"));
    let status = between(rest, "<Data>", "</Data>").unwrap_or_else(|| panic!("{answer}")).parse().unwrap();
    let nonce = between(&answer, "<NextNonce xmlns=\"syncml:metinf\">", "</NextNonce>")
        .map(|text| auth::parse_base64(text).unwrap());
    Answer { status, nonce: nonce.unwrap_or_default() }
}

fn between<'a>(text: &'a str, before: &str, after: &str) -> Option<&'a str> {
    text.split_once(before)?.1.split_once(after).map(|(found, _)| found)
}

#[test]
fn replaced_credentials_keep_out_who_has_the_old_ones() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let server = Server::start(&data);
    let run = |server: &Server, args: &[&str], password: &str| {
        let output = client(server, &data, &[args, &["-o", "json"]].concat(), password);
        assert!(output.status.success(), "{args:?}: {}", stderr(&output));
        serde_json::from_str::<serde_json::Value>(&stdout(&output)).unwrap()
    };
    let (old, new) = (auth::user_digest("alice", "old"), auth::user_digest("bob", "new"));
    let third = auth::user_digest("bob", "third");
    run(
        &server,
        &["device", "add", "--id", "d1", "--user", "alice", "--password-file", "-", "--tag", "lab"],
        "old\n",
    );
    let first = send(&server.devices, (1, 1), Some((&old, b"")));
    assert_eq!(first.status, 212);

    let shown =
        run(&server, &["device", "credentials", "d1", "--user", "bob", "--password-file", "-"], "new\n");
    assert_eq!((&shown["user"], &shown["tags"][0]), (&"bob".into(), &"lab".into()), "{shown}");
    assert_eq!(send(&server.devices, (1, 2), None).status, 200, "a session that has begun goes on");
    assert_eq!(send(&server.devices, (2, 1), Some((&old, &first.nonce))).status, 401);
    let second = send(&server.devices, (3, 1), Some((&new, &first.nonce)));
    assert_eq!(second.status, 212, "the nonce is the one that the device was told");
    assert_eq!(server.terminate().code(), Some(0));

    let server = Server::start(&data);
    assert_eq!(send(&server.devices, (4, 1), Some((&old, &second.nonce))).status, 401);
    assert_eq!(send(&server.devices, (5, 1), Some((&new, &second.nonce))).status, 212);

    // A nonce that the device was given with its credentials counts in place of the one it was told, and once.
    let given = auth::format_base64(b"provisioned");
    let args =
        ["device", "credentials", "d1", "--user", "bob", "--password-file", "-", "--client-nonce", &given];
    for (session, status) in [(6, 212), (7, 401)] {
        run(&server, &args, "third\n");
        assert_eq!(send(&server.devices, (session, 1), Some((&third, b"provisioned"))).status, status);
    }

    // Many at once, by a roster; what it does not say stays.
    let roster = "id,auth,user,password\nd1,md5,alice,old\nd2,none,,\nd3,md5,u\n";
    let counts = |args: &[&str]| {
        let output = client(
            &server,
            &data,
            &[&["device", "import", "-", "-o", "json", "--lenient"], args].concat(),
            roster,
        );
        let counts: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        ["created", "unchanged", "replaced", "conflict", "invalid"].map(|key| counts[key].as_u64().unwrap())
    };
    assert_eq!(counts(&[]), [1, 0, 0, 1, 1]);
    assert_eq!(counts(&["--replace"]), [0, 1, 1, 0, 1]);
    assert_eq!(counts(&["--replace"]), [0, 2, 0, 0, 1]);
    let shown = run(&server, &["device", "show", "d1"], "");
    assert_eq!((&shown["user"], &shown["tags"][0]), (&"alice".into(), &"lab".into()), "{shown}");

    let address = |args: &[&str]| {
        run(&server, &[&["device", "address", "d1"], args].concat(), "")["notify_address"].clone()
    };
    assert_eq!(address(&["udp://192.0.2.7:2948"]), "udp://192.0.2.7:2948");
    assert_eq!(address(&[]), serde_json::Value::Null);
    assert_eq!(server.terminate().code(), Some(0));
}
