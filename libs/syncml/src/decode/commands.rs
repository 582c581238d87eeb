//! The body and its commands.

use super::{Decoder, Source};
use crate::{
    Alert, Command, DecodeError, Group, Item, ItemCommand, Location, Map, Results, Search, Status,
    StatusCode, Sync, SyncBody, tag::Tag,
};

impl<'a, S: Source<'a>> Decoder<'_, S> {
    pub(super) fn sync_body(&mut self) -> Result<SyncBody<'a>, DecodeError> {
        let mut body = SyncBody::default();
        while let Some(tag) = self.src.child()? {
            match tag {
                Tag::Final => body.is_final = self.flag()?,
                _ => self.command_into(tag, &mut body.commands)?,
            }
        }
        Ok(body)
    }

    /// A command, at the end of `commands`; anything else is skipped.
    fn command_into(&mut self, tag: Tag, commands: &mut Vec<Command<'a>>) -> Result<(), DecodeError> {
        let command = match tag {
            Tag::Add
            | Tag::Alert
            | Tag::Atomic
            | Tag::Copy
            | Tag::Delete
            | Tag::Exec
            | Tag::Get
            | Tag::Map
            | Tag::Move
            | Tag::Put
            | Tag::Replace
            | Tag::Results
            | Tag::Search
            | Tag::Sequence
            | Tag::Status
            | Tag::Sync => {
                self.commands += 1;
                self.check(self.commands, self.limits.commands_max, "commands")?;
                self.command(tag)?
            }
            _ => return self.src.skip(),
        };
        if commands.is_empty() {
            commands.reserve(8); // what most messages stay within
        }
        commands.push(command);
        Ok(())
    }

    fn command(&mut self, tag: Tag) -> Result<Command<'a>, DecodeError> {
        Ok(match tag {
            Tag::Add => Command::Add(self.item_command()?),
            Tag::Alert => Command::Alert(self.alert()?),
            Tag::Atomic => Command::Atomic(self.group()?),
            Tag::Copy => Command::Copy(self.item_command()?),
            Tag::Delete => Command::Delete(self.item_command()?),
            Tag::Exec => Command::Exec(self.item_command()?),
            Tag::Get => Command::Get(self.item_command()?),
            Tag::Map => Command::Map(self.map()?),
            Tag::Move => Command::Move(self.item_command()?),
            Tag::Put => Command::Put(self.item_command()?),
            Tag::Results => Command::Results(self.results()?),
            Tag::Search => Command::Search(self.search()?),
            Tag::Sequence => Command::Sequence(self.group()?),
            Tag::Status => Command::Status(self.status()?),
            Tag::Sync => Command::Sync(self.sync()?),
            _ => Command::Replace(self.item_command()?),
        })
    }

    fn item_command(&mut self) -> Result<ItemCommand<'a>, DecodeError> {
        let mut command = ItemCommand::default();
        while let Some(tag) = self.src.child()? {
            match tag {
                Tag::CmdID => command.cmd_id = self.src.text()?,
                Tag::NoResp => command.no_resp = self.flag()?,
                Tag::Archive => command.archive = self.flag()?,
                Tag::SftDel => command.sft_del = self.flag()?,
                Tag::Lang => command.lang = Some(self.src.text()?),
                Tag::Cred => command.cred = Some(self.cred()?),
                Tag::Meta => command.meta = Some(self.meta()?),
                Tag::Correlator => command.correlator = Some(self.src.text()?),
                Tag::Item => self.item_into(&mut command.items)?,
                _ => self.src.skip()?,
            }
        }
        Ok(command)
    }

    fn alert(&mut self) -> Result<Alert<'a>, DecodeError> {
        let mut alert = Alert::default();
        while let Some(tag) = self.src.child()? {
            match tag {
                Tag::CmdID => alert.cmd_id = self.src.text()?,
                Tag::NoResp => alert.no_resp = self.flag()?,
                Tag::Cred => alert.cred = Some(self.cred()?),
                Tag::Data => alert.code = self.number("an alert code in decimal")?,
                Tag::Correlator => alert.correlator = Some(self.src.text()?),
                Tag::Item => self.item_into(&mut alert.items)?,
                _ => self.src.skip()?,
            }
        }
        Ok(alert)
    }

    fn group(&mut self) -> Result<Group<'a>, DecodeError> {
        let mut group = Group::default();
        while let Some(tag) = self.src.child()? {
            match tag {
                Tag::CmdID => group.cmd_id = self.src.text()?,
                Tag::NoResp => group.no_resp = self.flag()?,
                Tag::Meta => group.meta = Some(self.meta()?),
                _ => self.command_into(tag, &mut group.commands)?,
            }
        }
        Ok(group)
    }

    fn results(&mut self) -> Result<Results<'a>, DecodeError> {
        let mut results = Results::default();
        while let Some(tag) = self.src.child()? {
            match tag {
                Tag::CmdID => results.cmd_id = self.src.text()?,
                Tag::MsgRef => results.msg_ref = self.number("a MsgRef in decimal")?,
                Tag::CmdRef => results.cmd_ref = Some(self.src.text()?),
                Tag::Meta => results.meta = Some(self.meta()?),
                Tag::TargetRef => results.target_ref = Some(self.src.text()?),
                Tag::SourceRef => results.source_ref = Some(self.src.text()?),
                Tag::Item => self.item_into(&mut results.items)?,
                _ => self.src.skip()?,
            }
        }
        Ok(results)
    }

    fn status(&mut self) -> Result<Status<'a>, DecodeError> {
        let mut status = Status::default();
        while let Some(tag) = self.src.child()? {
            match tag {
                Tag::CmdID => status.cmd_id = self.src.text()?,
                Tag::MsgRef => status.msg_ref = self.number("a MsgRef in decimal")?,
                Tag::CmdRef => status.cmd_ref = self.src.text()?,
                Tag::Cmd => status.cmd = self.src.text()?,
                Tag::TargetRef => {
                    self.count_item()?;
                    status.target_refs.push(self.src.text()?);
                }
                Tag::SourceRef => {
                    self.count_item()?;
                    status.source_refs.push(self.src.text()?);
                }
                Tag::Cred => status.cred = Some(self.cred()?),
                Tag::Chal => status.chal = self.chal()?,
                Tag::Data => {
                    status.data = StatusCode(self.number("a status code in decimal")?.unwrap_or_default());
                }
                Tag::Item => self.item_into(&mut status.items)?,
                _ => self.src.skip()?,
            }
        }
        Ok(status)
    }

    fn item_into(&mut self, items: &mut Vec<Item<'a>>) -> Result<(), DecodeError> {
        self.count_item()?;
        let mut item = Item::default();
        while let Some(tag) = self.src.child()? {
            match tag {
                Tag::Target => item.target = Some(self.location()?),
                Tag::Source => item.source = Some(self.location()?),
                Tag::SourceParent => item.source_parent = Some(self.loc_uri()?),
                Tag::TargetParent => item.target_parent = Some(self.loc_uri()?),
                Tag::Meta => item.meta = Some(self.meta()?),
                Tag::Data => item.data = Some(self.src.data()?),
                Tag::MoreData => item.more_data = self.flag()?,
                _ => self.src.skip()?,
            }
        }
        items.push(item);
        Ok(())
    }

    fn map(&mut self) -> Result<Map<'a>, DecodeError> {
        let mut map = Map::default();
        while let Some(tag) = self.src.child()? {
            match tag {
                Tag::CmdID => map.cmd_id = self.src.text()?,
                Tag::Target => map.target = self.location()?,
                Tag::Source => map.source = self.location()?,
                Tag::Cred => map.cred = Some(self.cred()?),
                Tag::Meta => map.meta = Some(self.meta()?),
                Tag::MapItem => {
                    self.count_item()?;
                    map.items.push(self.map_item()?);
                }
                _ => self.src.skip()?,
            }
        }
        Ok(map)
    }

    fn map_item(&mut self) -> Result<(Location<'a>, Location<'a>), DecodeError> {
        let (mut target, mut source) = (Location::default(), Location::default());
        while let Some(tag) = self.src.child()? {
            match tag {
                Tag::Target => target = self.location()?,
                Tag::Source => source = self.location()?,
                _ => self.src.skip()?,
            }
        }
        Ok((target, source))
    }

    fn search(&mut self) -> Result<Search<'a>, DecodeError> {
        let mut search = Search::default();
        while let Some(tag) = self.src.child()? {
            match tag {
                Tag::CmdID => search.cmd_id = self.src.text()?,
                Tag::NoResp => search.no_resp = self.flag()?,
                Tag::NoResults => search.no_results = self.flag()?,
                Tag::Cred => search.cred = Some(self.cred()?),
                Tag::Target => search.target = Some(self.location()?),
                Tag::Source => {
                    self.count_item()?;
                    search.sources.push(self.location()?);
                }
                Tag::Lang => search.lang = Some(self.src.text()?),
                Tag::Meta => search.meta = Some(self.meta()?),
                Tag::Data => search.data = Some(self.src.data()?),
                _ => self.src.skip()?,
            }
        }
        Ok(search)
    }

    fn sync(&mut self) -> Result<Sync<'a>, DecodeError> {
        let mut sync = Sync::default();
        while let Some(tag) = self.src.child()? {
            match tag {
                Tag::CmdID => sync.cmd_id = self.src.text()?,
                Tag::NoResp => sync.no_resp = self.flag()?,
                Tag::Cred => sync.cred = Some(self.cred()?),
                Tag::Target => sync.target = Some(self.location()?),
                Tag::Source => sync.source = Some(self.location()?),
                Tag::Meta => sync.meta = Some(self.meta()?),
                Tag::NumberOfChanges => {
                    sync.number_of_changes = self.number("a NumberOfChanges in decimal")?;
                }
                _ => self.command_into(tag, &mut sync.commands)?,
            }
        }
        Ok(sync)
    }
}
