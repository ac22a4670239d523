import { InvalidArgumentError } from 'commander';
import type { Command } from 'commander';
import { once } from 'node:events';
import { action, exitCodes, print } from '../lib/cli.ts';
import { Shutdown } from '../lib/shutdown.ts';
import { registerClient } from './client/cli.ts';
import { defaultSiteDirectory } from './client/session.ts';
import { createProgress } from './site/progress.ts';

const seconds = (text: string): number => {
  const value = Number(text);
  if (!(value >= 1)) throw new InvalidArgumentError('Expected a number of seconds from 1.');
  return value;
};

/** Mounts the commands of people who run or use a whole site. */
export function register(program: Command): void {
  program
    .command('demo')
    .description(
      'Run a whole site on this machine, send a workload through it, and show what each job proves.',
    )
    .option('--keep', 'leave the directory of the demo; its path is printed')
    .option('--deadline <seconds>', 'give up when the jobs have not ended by then', seconds, 180)
    .action(
      action<{ json?: boolean; keep?: boolean; deadline: number }>(async options => {
        const { runDemo } = await import('./demo/run-demo.ts');
        const { showResult } = await import('./demo/show-result.ts');
        const shutdown = new Shutdown({ deadlineMs: 60_000 }).listen({
          endedCode: exitCodes.interrupted,
          hangup: true,
        });
        const run = runDemo({
          progress: createProgress({ quiet: options.json === true }),
          keep: options.keep === true,
          signal: shutdown.signal,
          deadlineSeconds: options.deadline,
        });
        shutdown.defer('demo', () => run.then(() => undefined).catch(() => undefined));
        const result = await run;
        print(result, options, showResult);
        process.exitCode = result.ok ? exitCodes.ok : exitCodes.failed;
      }),
    );

  program
    .command('up')
    .description('Run the same site and leave it running, until SIGINT or SIGTERM.')
    .option('--dir <dir>', 'directory of the site (default: PILOTAGE_SITE, else below ~/.local/state)')
    .action(
      action<{ json?: boolean; dir?: string }>(async options => {
        const { startUp } = await import('./up.ts');
        const shutdown = new Shutdown({ deadlineMs: 60_000 }).listen({ hangup: true });
        const directory = options.dir ?? defaultSiteDirectory();
        try {
          const up = await startUp({
            directory,
            progress: createProgress({ quiet: options.json === true }),
            shutdown,
          });
          const { serverUrl, storeUrl, cacheUrl } = up.running;
          const at = options.dir === undefined ? '' : ` --site ${up.directory}`;
          print(
            { ready: true, program: 'up', ...up, running: undefined, serverUrl, storeUrl, cacheUrl },
            options,
            () =>
              [
                '',
                `The site ${up.instance} is up, with pilot ${up.pilotVersion}; its files are in ${up.directory}.`,
                `  server ${serverUrl}   store ${storeUrl}   cache ${cacheUrl}`,
                '',
                'Use it from another terminal:',
                `  pilotage submit${at} --wait -- sh -c 'echo hello from $(hostname)'`,
                `  pilotage status${at}          the list; with a job id, that job and its history`,
                `  pilotage logs${at} JOB        what it printed`,
                `  pilotage kill${at} JOB        end it`,
                '',
                'Ctrl-C stops the site; its jobs and history are kept for the next `pilotage up`.',
              ].join('\n'),
          );
          await once(shutdown.signal, 'abort');
          await shutdown.close();
        } catch (error) {
          await shutdown.close();
          throw error;
        }
      }),
    );

  registerClient(program);
}
