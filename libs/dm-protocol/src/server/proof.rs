//! Who has proved what to whom in a session (DM Security 1.2, section 5).

use serde::{Deserialize, Serialize};
use syncml::{Cred, StatusCode};

use super::settings::Settings;
use crate::{Account, ClientAuth, Nonces, Scheme, ServerAuth, auth};

/// How far the device has come in proving itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum ClientProof {
    /// Not yet.
    Owed {
        /// The nonce of the last challenge. It is kept here and not in the account, so that somebody who only
        /// pretends to be the device cannot spoil the nonce that the device holds.
        challenge: Option<[u8; 16]>,
        /// Messages without a good credential.
        failures: u8,
    },
    /// It has, or need not.
    Given,
}

/// How far the server has come in proving itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ServerProof {
    pub(crate) state: ServerState,
    /// Credentials that the device refused since it last took one.
    pub(crate) refusals: u8,
    /// What the device asked for in this session, or else what was sent.
    pub(crate) scheme: Option<Scheme>,
    /// The last answer carried credentials.
    pub(crate) sent: bool,
}

/// What the device said about the server's credentials.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum ServerState {
    /// Nothing yet.
    #[default]
    Unsaid,
    /// 401 or 407 for this message: commands that were refused with it go out again.
    Challenged { msg_id: u32 },
    /// 200: they are due in each message.
    EachMessage,
    /// 212: they hold for the session.
    Accepted,
}

/// What a message's header is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) code: StatusCode,
    pub(crate) chal: Option<Chal>,
    /// Further messages are of no use.
    pub(crate) cut_off: bool,
    /// Refused, and made with the nonce that was accepted last.
    pub(crate) is_spent: bool,
    /// Refused, and whoever made it knew all but the password.
    pub(crate) guess: Option<Guess>,
}

/// A wrong credential whose maker knew all that goes into it but the password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guess {
    /// It can only be a wrong password.
    Password,
    /// A wrong password, or the nonce that another server gave to a device that was never here.
    FirstContact,
}

/// A challenge, or the nonce for the next session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Chal {
    pub(crate) scheme: Scheme,
    pub(crate) next_nonce: Option<[u8; 16]>,
}

impl Default for ClientProof {
    fn default() -> Self {
        Self::Owed { challenge: None, failures: 0 }
    }
}

impl ClientProof {
    /// Judges the credentials of a message. Gives the account's nonces too, where one of them was used and replaced.
    pub(crate) fn judge(
        &mut self,
        settings: &Settings,
        account: Option<&Account>,
        cred: Option<&Cred<'_>>,
        entropy: &[u8; 12],
    ) -> (Verdict, Option<Nonces>) {
        let Some(account) = account else {
            // An unknown device is told no more than one with a wrong password at its last attempt.
            return (Verdict::cut_off(), None);
        };
        let ClientAuth::Password { scheme: weakest, digest, .. } = &account.client else {
            *self = Self::Given;
            return (Verdict::accepted(cred.is_some(), None), None);
        };
        let offered = cred.and_then(Offered::read);
        let is_md5 = matches!(offered, Some(Offered { scheme: Scheme::Md5, .. }));
        let (mut is_spent, mut guess) = (false, None);
        match offered {
            Some(Offered { scheme: Scheme::Basic, data })
                if *weakest == Scheme::Basic
                    && !settings.known_nonce_only
                    && auth::verify_basic(data, digest) =>
            {
                *self = Self::Given;
                return (Verdict::accepted(true, None), None);
            }
            Some(Offered { scheme: Scheme::Basic, .. }) => {
                guess = (*weakest == Scheme::Basic).then_some(Guess::Password);
            }
            Some(Offered { scheme: Scheme::Md5, data }) => {
                let nonces = &account.nonces;
                let is_made_with = |nonce: &&[u8]| auth::verify_md5(data, digest, nonce);
                let used = candidates(nonces, self.challenge(), settings).find(is_made_with);
                if let Some(used) = used.map(<[u8]>::to_vec) {
                    let fresh = auth::make_nonce(entropy);
                    let nonces = Nonces {
                        client: Some(fresh.to_vec()),
                        client_previous: Some(used),
                        server: nonces.server.clone(),
                    };
                    *self = Self::Given;
                    let chal = Chal { scheme: Scheme::Md5, next_nonce: Some(fresh) };
                    return (Verdict::accepted(true, Some(chal)), Some(nonces));
                }
                is_spent = nonces.client_previous.as_deref().is_some_and(|nonce| is_made_with(&nonce));
                // The nonce of the last session is nobody's but the device's: a digest made with another one, before any
                // challenge, is that of a device that missed the last answer, and says nothing about a password.
                guess = if is_spent {
                    None
                } else if self.challenge().is_some() || settings.nonce_resync {
                    Some(Guess::Password)
                } else {
                    nonces.is_first_contact().then_some(Guess::FirstContact)
                };
            }
            _ => {}
        }
        let verdict = match self {
            // Some clients send credentials in every message, also when told that the first were enough for the session.
            Self::Given => Verdict::accepted(cred.is_some(), None),
            Self::Owed { failures, .. } => {
                let failures = failures.saturating_add(1);
                if settings.known_nonce_only {
                    return (Verdict { is_spent, ..Verdict::cut_off() }, None);
                }
                let scheme = if is_md5 { Scheme::Md5 } else { *weakest };
                Verdict {
                    is_spent,
                    guess,
                    ..self.refuse(settings, cred.is_some(), scheme, failures, entropy)
                }
            }
        };
        (verdict, None)
    }

    fn refuse(
        &mut self,
        settings: &Settings,
        had_cred: bool,
        scheme: Scheme,
        failures: u8,
        entropy: &[u8; 12],
    ) -> Verdict {
        let code = if had_cred { StatusCode::INVALID_CREDENTIALS } else { StatusCode::MISSING_CREDENTIALS };
        if failures >= settings.auth_attempts_max.max(2) {
            return Verdict::cut_off();
        }
        let nonce = (scheme == Scheme::Md5).then(|| auth::make_nonce(entropy));
        *self = Self::Owed { challenge: nonce, failures };
        let chal = Some(Chal { scheme, next_nonce: nonce });
        Verdict { code, chal, cut_off: false, is_spent: false, guess: None }
    }

    fn challenge(&self) -> Option<&[u8]> {
        match self {
            Self::Owed { challenge, .. } => challenge.as_ref().map(<[u8; 16]>::as_slice),
            Self::Given => None,
        }
    }

    pub(crate) fn is_given(&self) -> bool {
        matches!(self, Self::Given)
    }
}

impl Verdict {
    fn accepted(had_cred: bool, chal: Option<Chal>) -> Self {
        let code = if had_cred { StatusCode::AUTHENTICATION_ACCEPTED } else { StatusCode::OK };
        Self { code, chal, cut_off: false, is_spent: false, guess: None }
    }

    fn cut_off() -> Self {
        let code = StatusCode::INVALID_CREDENTIALS;
        Self { code, chal: None, cut_off: true, is_spent: false, guess: None }
    }
}

/// A credential as it came, of a scheme that we speak.
struct Offered<'a> {
    scheme: Scheme,
    data: &'a str,
}

impl<'a> Offered<'a> {
    /// A credential without a `Type` is basic (RepPro 1.2, section 6.1.6).
    fn read(cred: &'a Cred<'_>) -> Option<Self> {
        let type_ = cred.meta.as_ref().and_then(|meta| meta.type_.as_deref());
        let scheme = type_.map_or(Some(Scheme::Basic), Scheme::parse)?;
        Some(Self { scheme, data: &cred.data })
    }
}

/// The nonces that a credential may have been made with: the challenge of this session; what was handed out for it last
/// time; and for a device that never had any, none at all.
///
/// The one before is not among them. A device that did not hear of the next one is challenged, which costs it a message;
/// were it accepted, a digest that somebody wrote down would pass a second time.
fn candidates<'a>(
    nonces: &'a Nonces,
    challenge: Option<&'a [u8]>,
    settings: &Settings,
) -> impl Iterator<Item = &'a [u8]> {
    let public = !settings.known_nonce_only;
    let empty = (public && nonces.is_first_contact()).then_some(&b""[..]);
    // Four zero octets, or the text: clients differ (DM Notification 1.2, section 5.2 leaves it open).
    let special: &[&[u8]] = if public && settings.nonce_resync { &[&[0; 4], b"0x00000000"] } else { &[] };
    challenge
        .filter(|_| public)
        .into_iter()
        .chain(nonces.client.as_deref())
        .chain(empty)
        .chain(special.iter().copied())
}

/// What the server's credentials are in this message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Credential {
    pub(crate) scheme: Scheme,
    pub(crate) data: String,
}

impl ServerProof {
    /// The credentials for an answer that carries commands; `None` where none are due.
    pub(crate) fn credential(&self, server: Option<&ServerAuth>, nonces: &Nonces) -> Option<Credential> {
        let server = server?;
        if self.state == ServerState::Accepted {
            return None;
        }
        let scheme = self.scheme.unwrap_or(server.scheme);
        let data = match scheme {
            Scheme::Basic => auth::basic_credential(&server.server_id, &server.password),
            Scheme::Md5 => {
                let digest = auth::user_digest(&server.server_id, &server.password);
                auth::md5_credential_base64(&digest, nonces.server.as_deref().unwrap_or_default())
            }
        };
        Some(Credential { scheme, data })
    }

    /// Takes in the device's Status for our header. `next_nonce`: it came with a nonce for the next credential.
    pub(crate) fn handle_status(
        &mut self,
        code: StatusCode,
        msg_id: u32,
        asked: Option<Scheme>,
        next_nonce: bool,
    ) {
        match code {
            StatusCode::INVALID_CREDENTIALS | StatusCode::MISSING_CREDENTIALS => {
                self.state = ServerState::Challenged { msg_id };
                self.refusals = self.refusals.saturating_add(1);
                self.scheme = asked.or(self.scheme);
            }
            // What is said of a message that had no credentials says nothing about them.
            _ if !self.sent => {}
            StatusCode::AUTHENTICATION_ACCEPTED => {
                self.state = ServerState::Accepted;
                self.refusals = 0;
            }
            // A 200 means: again in the next message. But an MD5 credential needs a new nonce for that, and a
            // device that gives none with its 200 would be shown the same digest twice.
            _ => {
                self.refusals = 0;
                let again = self.scheme == Some(Scheme::Basic) || next_nonce;
                self.state = if again { ServerState::EachMessage } else { ServerState::Accepted };
            }
        }
    }

    /// The device has refused the last credentials, or their absence.
    pub(crate) fn is_challenged(&self) -> bool {
        matches!(self.state, ServerState::Challenged { .. })
    }

    /// Credentials have gone out.
    pub(crate) fn handle_sent(&mut self, scheme: Option<Scheme>) {
        self.sent = scheme.is_some();
        if self.is_challenged() {
            self.state = ServerState::Unsaid;
        }
        self.scheme = self.scheme.or(scheme);
    }
}
