import type { Command } from 'commander';
import { registerKeys } from '../../keys/commands.ts';
import { registerBuildCommands } from './build-commands.ts';
import { registerChannelCommands } from './channel-commands.ts';
import { registerHistoryCommands } from './history-commands.ts';
import { registerMirrorCommands } from './mirror-commands.ts';
import { registerRefreshCommands } from './refresh-commands.ts';
import { registerRepositoryCommands } from './repository-commands.ts';
import { registerSignCommands } from './sign-commands.ts';

/** Mounts `pilotage release …`: what release managers do. */
export function registerRelease(program: Command): void {
  const release = program
    .command('release')
    .description(
      'Sign and publish pilot releases (TUF): each role has its own keys, and a channel moves by signatures alone.\n' +
        'Passphrases come from --passphrase-dir, --passphrase-file, PILOTAGE_PASSPHRASE_FILE or a prompt.',
    );
  registerRepositoryCommands(release);
  registerRefreshCommands(release);
  registerBuildCommands(release);
  registerChannelCommands(release);
  registerHistoryCommands(release);
  registerSignCommands(release);
  registerMirrorCommands(release);
  registerKeys(release);
}
