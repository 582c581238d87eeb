use super::*;

#[test]
fn every_code_survives_the_way_there_and_back() {
    for code in 0..=u16::MAX {
        assert_eq!(FumoResult::from_code(code).code(), code);
        assert_eq!(FumoState::from_code(i32::from(code)).code(), i32::from(code));
    }
}

#[test]
fn result_codes_fall_into_classes() {
    use ResultClass as C;
    for (codes, class) in [
        (&[200, 250, 299][..], C::Success),
        (&[406, 407, 412, 500, 501, 503, 550, 599, 602], C::Transient),
        (&[401], C::NeedsUser),
        (&[402, 403, 404, 405, 411, 600, 601], C::PackageFault),
        (&[400, 408, 409, 410, 450, 499, 502, 0, 201, 413, 504, 65535], C::DeviceFault),
    ] {
        for &code in codes {
            assert_eq!(FumoResult::from_code(code).class(), class, "code {code}");
        }
    }
}

#[test]
fn alert_data_is_read_leniently() {
    for (data, want) in [
        (&b"200"[..], Some(200)),
        (b" 503\r\n", Some(503)),
        (b"250 fine", Some(250)),
        (b"", None),
        (b"OK", None),
        (b"99999", None),
        (b"\xff2", None),
    ] {
        assert_eq!(FumoResult::parse(data).map(FumoResult::code), want, "data {data:?}");
    }
}

#[test]
fn alert_types_are_read_with_and_without_prefix() {
    for (type_, want) in [
        (
            "org.openmobilealliance.dm.firmwareupdate.downloadandupdate",
            Some(FumoAlert::Ended(Operation::DownloadAndUpdate)),
        ),
        (
            "Reversed-Domain-Name: org.openmobilealliance.dm.firmwareupdate.download",
            Some(FumoAlert::Ended(Operation::Download)),
        ),
        (
            "reversed-domain-name:ORG.OpenMobileAlliance.DM.FirmwareUpdate.Update ",
            Some(FumoAlert::Ended(Operation::Update)),
        ),
        ("org.openmobilealliance.firmwareupdate.update", Some(FumoAlert::Ended(Operation::Update))),
        (" org.openmobilealliance.dm.firmwareupdate.devicerequest", Some(FumoAlert::DeviceRequest)),
        ("org.openmobilealliance.dm.firmwareupdate.userrequest", Some(FumoAlert::UserRequest)),
        ("org.openmobilealliance.dm.firmwareupdate.userinteraction", None),
        ("urn:oma:at:lawmo:1.0:OperationComplete", None),
        ("", None),
    ] {
        assert_eq!(FumoAlert::parse(type_), want, "type {type_}");
    }
}

#[test]
fn states_follow_the_operations() {
    use FumoEvent as E;
    use FumoState as S;
    for (from, event, to) in [
        (S::Idle, E::ExecDownload, Some(S::DownloadProgressing)),
        (S::DownloadFailed, E::ExecDownloadAndUpdate, Some(S::DownloadProgressing)),
        (S::DownloadProgressing, E::ExecDownload, None),
        (S::UpdateProgressing, E::ExecDownloadAndUpdate, None),
        (S::DownloadProgressing, E::Downloaded, Some(S::ReadyToUpdate)),
        (S::DownloadProgressing, E::DownloadFailed, Some(S::DownloadFailed)),
        (S::Idle, E::PackageWritten, Some(S::ReadyToUpdate)),
        (S::Idle, E::ExecUpdate, None),
        (S::ReadyToUpdate, E::ExecUpdate, Some(S::UpdateProgressing)),
        (S::UpdateFailedHaveData, E::ExecUpdate, Some(S::UpdateProgressing)),
        (S::UpdateFailedNoData, E::ExecUpdate, None),
        (S::UpdateProgressing, E::Updated, Some(S::UpdateSuccessfulNoData)),
        (S::UpdateProgressing, E::UpdateFailed { keeps_package: true }, Some(S::UpdateFailedHaveData)),
        (S::UpdateProgressing, E::UpdateFailed { keeps_package: false }, Some(S::UpdateFailedNoData)),
        (S::Idle, E::Updated, None),
    ] {
        assert_eq!(from.after(event), to, "{from:?} on {event:?}");
    }
}
