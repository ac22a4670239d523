import type { Command } from 'commander';
import { action, print } from '../../../lib/cli.ts';
import { describeDiff, describeHistory } from '../history/report-history.ts';
import { releaseDiff } from '../history/release-diff.ts';
import { releaseHistory } from '../history/release-history.ts';
import { reading, withContext, type RepositoryOptions } from './options.ts';

/** Mounts what looks back: `history`, `diff`. */
export function registerHistoryCommands(release: Command): void {
  reading(
    release,
    'history',
    'Show every version: who signed it, when, from which commit, and which channel pointed at it when.',
  ).action(
    action<RepositoryOptions>(async options =>
      print(await withContext(options, releaseHistory), options, describeHistory),
    ),
  );
  reading(release, 'diff <version1> <version2>', 'Show what differs between two releases.')
    .option('--text', 'show the changed lines of text files as well')
    .action(
      action<RepositoryOptions & { text?: boolean }>(async (options, from, to) =>
        print(
          await withContext(options, context =>
            releaseDiff({ ...context, from, to, text: options.text ?? false }),
          ),
          options,
          describeDiff,
        ),
      ),
    );
}
