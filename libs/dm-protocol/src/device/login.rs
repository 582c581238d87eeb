//! Who has proved themselves to whom (DM Security 1.2, section 5.3; DM Protocol 1.2, section 9).

use serde::{Deserialize, Serialize};
use syncml::{Cred, Meta, StatusCode, SyncHdr};

use super::{Challenge, DeviceCredentials, Quirks};
use crate::{Scheme, auth};

/// Times that either side may try.
const TRIES_MAX: u8 = 3;

/// The state of authentication in a session, both ways.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Login {
    pub(super) credentials: DeviceCredentials,
    /// The server has not accepted the device for the whole session yet.
    sends_cred: bool,
    /// From a challenge, for the next credential. Not kept for later: who sent it has not proved itself.
    nonce: Option<Vec<u8>>,
    tries: u8,
    server: ServerState,
}

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
struct ServerState {
    /// Accepted for the whole session.
    is_known: bool,
    /// Challenged at least once.
    is_challenged: bool,
    /// What the challenge gave it.
    nonce: Option<Vec<u8>>,
    tries: u8,
}

/// What the device says of the server in the Status of the header.
pub(super) struct Verdict {
    pub(super) code: StatusCode,
    /// The scheme and, for MD5, the nonce.
    pub(super) challenge: Option<(Scheme, Option<Vec<u8>>)>,
    /// The commands are to be refused with that code.
    pub(super) is_refused: bool,
}

impl Verdict {
    fn go(code: StatusCode) -> Self {
        Self { code, challenge: None, is_refused: false }
    }
}

impl Login {
    pub(super) fn new(credentials: DeviceCredentials) -> Self {
        let server = ServerState { is_known: false, is_challenged: false, nonce: None, tries: 0 };
        Self { credentials, sends_cred: true, nonce: None, tries: 0, server }
    }

    /// The credential for the next message, if there is one to send.
    pub(super) fn cred(&self) -> Option<Cred<'static>> {
        let secret = self.credentials.client.as_ref().filter(|_| self.sends_cred)?;
        let (type_, data) = match secret.scheme {
            Scheme::Basic => (auth::BASIC, auth::basic_credential(&secret.user, &secret.password)),
            Scheme::Md5 => {
                // Without a nonce there is nothing to send: the server will challenge.
                let nonce = self.nonce.as_ref().or(self.credentials.client_nonce.as_ref())?;
                let digest = auth::user_digest(&secret.user, &secret.password);
                (auth::MD5, auth::md5_credential_base64(&digest, nonce))
            }
        };
        let meta = Meta { format: Some("b64".into()), type_: Some(type_.into()), ..Meta::default() };
        Some(Cred { meta: Some(Box::new(meta)), data: data.into() })
    }

    /// The server accepted the device, for the session (212) or a message (200).
    pub(super) fn accepted(&mut self, for_session: bool, challenge: Option<&Meta<'_>>) {
        if for_session {
            self.sends_cred = false;
        }
        self.nonce = None;
        self.tries = 0;
        // Kept although the server may not have proved itself: one with nothing to do never does, and this is the only
        // message in which it can hand out the nonce of the next session.
        if let Some(nonce) = nonce_of(challenge) {
            self.credentials.client_nonce = Some(nonce);
        }
    }

    /// The server asks for (other) credentials. Gives back whether there is something to try.
    pub(super) fn challenged(&mut self, challenge: Option<&Meta<'_>>) -> bool {
        self.tries += 1;
        let Some(secret) = &mut self.credentials.client else { return false };
        let Some(challenge) = challenge.filter(|_| self.tries <= TRIES_MAX) else { return false };
        let type_ = challenge.type_.as_deref().unwrap_or(auth::MD5).trim();
        if type_.eq_ignore_ascii_case(auth::BASIC) {
            secret.scheme = Scheme::Basic;
        } else if type_.eq_ignore_ascii_case(auth::MD5) {
            secret.scheme = Scheme::Md5;
            self.nonce = Some(nonce_of(Some(challenge)).unwrap_or_default());
        } else {
            return false;
        }
        self.sends_cred = true;
        true
    }

    /// Checks what the server sent to prove itself. A fresh nonce is made of `entropy` where one is due.
    pub(super) fn check_server(
        &mut self,
        hdr: &SyncHdr<'_>,
        has_commands: bool,
        quirks: &Quirks,
        entropy: &[u8; 12],
    ) -> Verdict {
        let asks = quirks.challenge != Challenge::Never;
        let Some(scheme) = self.credentials.server.as_ref().map(|secret| secret.scheme).filter(|_| asks)
        else {
            let is_sent = hdr.cred.is_some();
            return Verdict::go(if is_sent { StatusCode::AUTHENTICATION_ACCEPTED } else { StatusCode::OK });
        };
        if self.server.is_known {
            return Verdict::go(StatusCode::OK);
        }
        let fresh = (scheme == Scheme::Md5).then(|| auth::make_nonce(entropy).to_vec());
        let is_due = quirks.challenge == Challenge::Always && !self.server.is_challenged && has_commands;
        if !is_due && hdr.cred.as_ref().is_some_and(|cred| self.is_right(cred, scheme)) {
            self.server.tries = 0;
            self.server.nonce = None;
            self.server.is_known = !quirks.authenticates_each_message;
            self.credentials.server_nonce.clone_from(&fresh);
            let code =
                if self.server.is_known { StatusCode::AUTHENTICATION_ACCEPTED } else { StatusCode::OK };
            return Verdict { code, challenge: fresh.map(|nonce| (scheme, Some(nonce))), is_refused: false };
        }
        if !has_commands {
            // Nothing was asked of us, so nothing has to be proved.
            return Verdict::go(StatusCode::OK);
        }
        let code = match hdr.cred {
            Some(_) => StatusCode::INVALID_CREDENTIALS,
            None => StatusCode::MISSING_CREDENTIALS,
        };
        self.server.is_challenged = true;
        self.server.tries += 1;
        if self.server.tries > TRIES_MAX {
            return Verdict { code, challenge: None, is_refused: true };
        }
        self.server.nonce.clone_from(&fresh);
        Verdict { code, challenge: Some((scheme, fresh)), is_refused: true }
    }

    fn is_right(&self, cred: &Cred<'_>, scheme: Scheme) -> bool {
        let Some(secret) = &self.credentials.server else { return false };
        let digest = auth::user_digest(&self.credentials.server_id, &secret.password);
        let type_ = cred.meta.as_ref().and_then(|meta| meta.type_.as_deref());
        let is_of = |name| type_.is_none_or(|type_| type_.trim().eq_ignore_ascii_case(name));
        match scheme {
            Scheme::Basic => is_of(auth::BASIC) && auth::verify_basic(&cred.data, &digest),
            Scheme::Md5 => {
                let nonce = self.server.nonce.as_ref().or(self.credentials.server_nonce.as_ref());
                is_of(auth::MD5) && nonce.is_some_and(|nonce| auth::verify_md5(&cred.data, &digest, nonce))
            }
        }
    }
}

fn nonce_of(challenge: Option<&Meta<'_>>) -> Option<Vec<u8>> {
    challenge.and_then(|meta| meta.next_nonce.as_deref()).and_then(auth::parse_base64)
}
