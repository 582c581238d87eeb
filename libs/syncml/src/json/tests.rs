use super::*;
use crate::{Encoding, Limits, decode};

#[test]
fn writes_what_is_there_in_the_order_of_the_dtd_and_nothing_else() {
    let xml = b"<SyncML><SyncHdr><VerDTD>1.2</VerDTD><VerProto>DM/1.2</VerProto><SessionID>2A</SessionID><MsgID>1</MsgID>\
        <Target><LocURI>https://dm.example.org/dm</LocURI></Target><Source><LocURI>IMEI:1</LocURI><LocName>u</LocName></Source>\
        <Meta><MaxMsgSize>8192</MaxMsgSize></Meta></SyncHdr><SyncBody>\
        <Status><CmdID>1</CmdID><MsgRef>1</MsgRef><CmdRef>0</CmdRef><Cmd>SyncHdr</Cmd><TargetRef>a</TargetRef>\
        <TargetRef>b</TargetRef><Chal><Meta><NextNonce>bm8=</NextNonce></Meta></Chal><Data>407</Data></Status>\
        <Sequence><CmdID>2</CmdID><Replace><CmdID>3</CmdID><Item><Target><LocURI>./A</LocURI></Target>\
        <Data>\"x\"\n\\</Data><MoreData/></Item></Replace></Sequence><Final/></SyncBody></SyncML>";
    let mut message = decode(Encoding::Xml, xml, &Limits::default()).unwrap();
    let Command::Sequence(sequence) = &mut message.body.commands[1] else { unreachable!() };
    sequence.commands.push(Command::Add(ItemCommand {
        items: vec![Item { data: Some(Data::Bytes(b"\x02\0".into())), ..Item::default() }],
        ..ItemCommand::default()
    }));
    let want = r#"{
  "SyncHdr": {
    "VerDTD": "1.2",
    "VerProto": "DM/1.2",
    "SessionID": "2A",
    "MsgID": 1,
    "Target": {
      "LocURI": "https://dm.example.org/dm"
    },
    "Source": {
      "LocURI": "IMEI:1",
      "LocName": "u"
    },
    "Meta": {
      "MaxMsgSize": 8192
    }
  },
  "SyncBody": {
    "commands": [
      {
        "Status": {
          "CmdID": "1",
          "MsgRef": 1,
          "CmdRef": "0",
          "Cmd": "SyncHdr",
          "TargetRef": [
            "a",
            "b"
          ],
          "Chal": {
            "NextNonce": "bm8="
          },
          "Data": 407
        }
      },
      {
        "Sequence": {
          "CmdID": "2",
          "commands": [
            {
              "Replace": {
                "CmdID": "3",
                "Item": [
                  {
                    "Target": {
                      "LocURI": "./A"
                    },
                    "Data": "\"x\"\n\\",
                    "MoreData": true
                  }
                ]
              }
            },
            {
              "Add": {
                "Item": [
                  {
                    "Data": {
                      "base64": "AgA="
                    }
                  }
                ]
              }
            }
          ]
        }
      }
    ],
    "Final": true
  }
}"#;
    assert_eq!(to_json(&message), want);
}

#[test]
fn escapes_whatever_json_or_a_terminal_would_act_on() {
    let mut message = Message::default();
    message.hdr.session_id = "a\u{1b}[31m\u{7f}\u{9b}\u{0}é".into();
    let json = to_json(&message);
    assert!(json.contains(r#""SessionID": "a\u001b[31m\u007f\u009b\u0000é""#), "{json}");
}
