//! What the device says of our commands: Statuses and Results.

use std::collections::VecDeque;

use syncml::{Command, Item, Message, Results, Status, StatusCode};

use super::{
    super::{
        Draft, Event, Tag, UNANSWERED,
        object::InboundOf,
        outstanding::{Answer, Part, Sent},
        proof::ServerState,
        record::Waiting,
        session::{Input, ServerSession},
        settings::Settings,
    },
    objects::{format_of, item_uri, mime_of},
};

impl ServerSession {
    pub(super) fn handle_status(&mut self, message: &Message<'_>, status: &Status<'_>) {
        let Ok(cmd_ref) = status.cmd_ref.trim().parse::<u32>() else { return };
        let found = self.record.outstanding.iter().enumerate().find_map(|(index, sent)| {
            sent.position(status.msg_ref.filter(|&id| id != 0), cmd_ref).map(|position| (index, position))
        });
        let Some((index, position)) = found else { return };
        if self.record.outstanding[index].part == Part::Chunk {
            self.step.progress = true;
            self.record.outstanding.remove(index);
            return self.handle_chunk_status(status.data);
        }
        let challenged = self.record.server.is_challenged();
        let refused =
            matches!(status.data, StatusCode::INVALID_CREDENTIALS | StatusCode::MISSING_CREDENTIALS);
        if challenged && refused {
            if let Some(answer) = self.record.outstanding[index].answers.get_mut(position) {
                answer.refused = true;
            }
            return;
        }
        if status.data == StatusCode::CHUNK_ACCEPTED {
            return;
        }
        let items: Vec<String> = status.items.iter().filter_map(item_text).collect();
        let sent = &mut self.record.outstanding[index];
        let outcomes = answer(sent, position, message, status);
        self.step.progress |= !outcomes.is_empty();
        let Some((tag, _)) = sent.at(position) else { return };
        push_statuses(&mut self.step.events, tag, outcomes, status.data, &items);
    }

    pub(super) fn handle_results(&mut self, settings: &Settings, input: Input<'_>, results: &Results<'_>) {
        let uri = |item: &Item<'_>| -> Option<String> {
            let location = item.source.as_ref().or(item.target.as_ref());
            let reference = results.source_ref.as_ref().or(results.target_ref.as_ref());
            let uri = location.map(|location| &location.loc_uri).or(reference)?;
            Some(dm_tree::normalise(uri).to_owned())
        };
        let found = self.find_get(results, results.items.first().and_then(uri).as_deref());
        let mut code = None;
        for item in &results.items {
            let Some((index, position)) = found else {
                code = item.more_data.then_some(StatusCode::NOT_FOUND);
                continue;
            };
            let sent = &mut self.record.outstanding[index];
            if let Some(answer) = sent.answers.get_mut(position) {
                answer.has_results = true;
            }
            let Some((tag, draft)) = sent.at(position) else { continue };
            let Some(uri) = uri(item).or_else(|| only_uri(draft)) else {
                code = Some(StatusCode::INCOMPLETE_COMMAND);
                continue;
            };
            let meta = item.meta.as_deref().or(results.meta.as_deref());
            let (format, mime) = (format_of(meta), mime_of(meta));
            let what = InboundOf::Value { tag: Some(tag), uri, format, mime };
            code = self.handle_object(settings, input, what, meta.and_then(|meta| meta.size), item);
        }
        // Results are answered only where there is something to say.
        if let Some(code) = code {
            self.owe(input.message, &results.cmd_id, "Results", false, code);
        }
    }

    fn find_get(&self, results: &Results<'_>, uri: Option<&str>) -> Option<(usize, usize)> {
        let cmd_ref = results.cmd_ref.as_deref().map_or(Some(1), |cmd_ref| cmd_ref.trim().parse().ok());
        let by_ref = |msg_ref: Option<u32>| {
            let cmd_ref = cmd_ref?;
            self.record.outstanding.iter().enumerate().find_map(|(index, sent)| {
                let position = sent.position(msg_ref, cmd_ref)?;
                let (_, draft) = sent.at(position)?;
                matches!(draft, Draft::Get(_)).then_some((index, position))
            })
        };
        let by_uri = || {
            let uri = uri?;
            self.record.outstanding.iter().enumerate().find_map(|(index, sent)| {
                let position = (0..sent.answers.len()).find(|&position| {
                    sent.at(position).is_some_and(|(_, draft)| draft.item_of(uri).is_some())
                })?;
                Some((index, position))
            })
        };
        // Absent means 1, but not all who leave it out mean it.
        by_ref(Some(results.msg_ref.unwrap_or(1)))
            .or_else(|| results.msg_ref.is_none().then(|| by_ref(None)).flatten())
            .or_else(by_uri)
    }

    /// The device has said all it has to say about the commands that are out.
    ///
    /// What it refused for want of credentials goes out again; and all of the message whose header it refused, if
    /// it says no more than that. What has no Status in a refusal that names others is not sent again: it may have run.
    pub(crate) fn close_package(&mut self) {
        let outstanding = std::mem::take(&mut self.record.outstanding);
        let is_untouched = |sent: &Sent| sent.answers.iter().all(Answer::is_empty);
        let is_named = |sent: &Sent| !is_untouched(sent) || sent.answers.iter().any(|answer| answer.refused);
        let refused_msg_id = match self.record.server.state {
            ServerState::Challenged { msg_id } => Some(msg_id),
            _ => None,
        };
        let refused_whole = refused_msg_id.filter(|_| !outstanding.iter().any(is_named));
        let mut again = Vec::new();
        for sent in outstanding {
            let is_refused =
                sent.answers.iter().any(|answer| answer.refused) || refused_whole == Some(sent.msg_id);
            if sent.part == Part::Chunk {
                continue;
            }
            if is_refused && is_untouched(&sent) {
                again.push(Waiting { tag: sent.tag, draft: sent.draft, part: sent.part });
            } else {
                self.report_unanswered(&sent);
            }
        }
        for waiting in again.into_iter().rev() {
            self.record.queue.push_front(waiting);
        }
    }

    pub(crate) fn abandon_outstanding(&mut self) {
        for sent in std::mem::take(&mut self.record.outstanding) {
            if sent.part != Part::Chunk {
                self.report_unanswered(&sent);
            }
        }
    }

    fn report_unanswered(&mut self, sent: &Sent) {
        for (position, answer) in sent.answers.iter().enumerate() {
            let Some((tag, draft)) = sent.at(position) else { continue };
            if answer.whole {
                continue;
            }
            // A value is as good as the Status that should have come with it.
            let code = match answer {
                Answer { has_results: true, .. } => StatusCode::OK,
                Answer { refused: true, .. } => StatusCode::INVALID_CREDENTIALS,
                _ => UNANSWERED,
            };
            let outcomes = if answer.items.is_empty() && sent.part != Part::Items {
                vec![None]
            } else {
                unanswered_items(draft, &answer.items)
            };
            push_statuses(&mut self.step.events, tag, outcomes, code, &[]);
        }
    }

    fn handle_chunk_status(&mut self, code: StatusCode) {
        let challenged = self.record.server.is_challenged();
        match code {
            StatusCode::CHUNK_ACCEPTED => {}
            StatusCode::INVALID_CREDENTIALS | StatusCode::MISSING_CREDENTIALS if challenged => {
                if let Some(outbound) = self.record.outbound.take() {
                    let waiting = Waiting { tag: outbound.tag, draft: outbound.draft, part: Part::Whole };
                    self.record.queue.push_front(waiting);
                }
            }
            // Whoever takes a chunk for the whole object does not know large objects.
            code if code.is_success() => self.lose_outbound(StatusCode::OPTIONAL_FEATURE_NOT_SUPPORTED),
            code => self.lose_outbound(code),
        }
    }

    pub(super) fn lose_outbound(&mut self, code: StatusCode) {
        if let Some(outbound) = self.record.outbound.take() {
            self.record.outstanding.retain(|sent| sent.part != Part::Chunk);
            self.step.object_lost = true;
            self.report(outbound.tag, code);
        }
    }
}

/// What an item of a Status says: a choice of the user, or the node that was at fault.
fn item_text(item: &Item<'_>) -> Option<String> {
    let data = item.data.as_ref().and_then(|data| data.as_text());
    data.or_else(|| item_uri(item).map(AsRef::as_ref)).map(str::to_owned)
}

fn only_uri(draft: &Draft) -> Option<String> {
    match draft {
        Draft::Get(uris) if uris.len() == 1 => Some(dm_tree::normalise(&uris[0]).to_owned()),
        _ => None,
    }
}

/// Notes a Status with the command it is for. Gives the targets whose outcome it newly tells; `None` is all.
fn answer(
    sent: &mut Sent,
    position: usize,
    message: &Message<'_>,
    status: &Status<'_>,
) -> Vec<Option<String>> {
    let part = sent.part;
    let Some((_, draft)) = sent.at(position) else { return Vec::new() };
    let Some(answer) = sent.answers.get(position) else { return Vec::new() };
    let count = draft.item_count();
    let open = |index: &usize| !answer.items.iter().any(|done| usize::from(*done) == *index);
    if answer.whole {
        return Vec::new();
    }
    let refs: Vec<usize> = status
        .target_refs
        .iter()
        .chain(&status.source_refs)
        .filter_map(|reference| draft.item_of(reference))
        .collect();
    let indices: Vec<usize> = if count == 1 {
        vec![0]
    } else if !refs.is_empty() {
        refs.into_iter().filter(|index| open(index)).collect()
    } else if !status.target_refs.is_empty() || !status.source_refs.is_empty() {
        Vec::new()
    } else if unnamed(message, status) > 1 {
        // Without names, several Statuses for one command can only be meant in the order of its items.
        (0..count).find(|index| open(index)).into_iter().collect()
    } else {
        (0..count).filter(|index| open(index)).collect()
    };
    let is_all = indices.len() == count;
    let outcomes = if is_all && part != Part::Items {
        vec![None]
    } else {
        indices.iter().map(|&index| item_name(draft, index)).collect()
    };
    let answer = &mut sent.answers[position];
    answer.items.extend(indices.iter().filter_map(|&index| u16::try_from(index).ok()));
    if answer.items.len() >= count {
        answer.whole = true;
        answer.items = Vec::new();
    }
    outcomes
}

/// How many Statuses of the message are for the same command and name no item.
fn unnamed(message: &Message<'_>, status: &Status<'_>) -> usize {
    let is_alike = |command: &&Command<'_>| {
        matches!(command, Command::Status(other) if other.cmd_ref == status.cmd_ref
            && other.msg_ref == status.msg_ref && other.target_refs.is_empty() && other.source_refs.is_empty())
    };
    message.body.commands.iter().filter(is_alike).count()
}

fn item_name(draft: &Draft, index: usize) -> Option<String> {
    match draft {
        Draft::Get(uris) => uris.get(index).map(|uri| dm_tree::normalise(uri).to_owned()),
        _ => None,
    }
}

fn unanswered_items(draft: &Draft, answered: &[u16]) -> Vec<Option<String>> {
    (0..draft.item_count())
        .filter(|index| !answered.iter().any(|done| usize::from(*done) == *index))
        .map(|index| item_name(draft, index))
        .collect()
}

fn push_statuses(
    events: &mut VecDeque<Event>,
    tag: Tag,
    targets: Vec<Option<String>>,
    code: StatusCode,
    items: &[String],
) {
    for target in targets {
        events.push_back(Event::Status { tag, target, code, items: items.to_vec() });
    }
}
