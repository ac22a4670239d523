import { InvalidArgumentError } from 'commander';
import type { Command } from 'commander';
import { setTimeout as sleep } from 'node:timers/promises';
import { action, exitCodes, print } from '../../lib/cli.ts';
import { isFinal, jobStates } from '../../lib/job-states.ts';
import type { JobState } from '../../lib/job-states.ts';
import { withSession } from './session.ts';
import { describeJob, describeJobs, describeReleases } from './status.ts';
import { submit } from './submit.ts';
import type { SubmitOptions } from './submit.ts';
import { waitForJobs } from './wait.ts';

interface Common {
  json?: boolean;
  site?: string;
}

const positive = (text: string): number => {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1)
    throw new InvalidArgumentError('Expected a whole number from 1.');
  return value;
};
const collect = (value: string, before: string[] = []): string[] => [...before, value];

const SITE = [
  '--site <dir>',
  "directory of the site (default: PILOTAGE_SITE, else `pilotage up`'s)",
] as const;

/** Mounts `submit`, `status`, `pilots`, `logs` and `kill`: what submitters and shifters do. */
export function registerClient(program: Command): void {
  program
    .command('submit [command...]')
    .description('Submit a job: a command behind --, or the jobs of a YAML file.')
    .option(...SITE)
    .option('--name <name>', 'name of the job')
    .option('--queue <queue>', "queue (default: the site's)")
    .option('--group <group>', 'group to find the job by')
    .option('--input <file>', 'input: FILE, NAME=FILE or NAME=URL#SHA256; may be repeated', collect)
    .option('--output <name>', 'file that the job makes and that is kept; may be repeated', collect)
    .option('--output-url <url>', 'where outputs go')
    .option('--wall <seconds>', 'wall-clock limit', positive)
    .option('--memory <MiB>', 'memory limit', positive)
    .option('--file <file>', 'YAML file with one job definition or a list of them')
    .option(
      '--wait [seconds]',
      'wait until the jobs have ended (default: an hour); exit 1 if one did not finish',
    )
    .action(
      action<Common & SubmitOptions & { wait?: string | true }>(async (options, ...given) => {
        const command = (given[0] ?? []) as unknown as string[];
        await withSession(options.site, async session => {
          const submitted = await submit(session, command, options);
          if (options.wait === undefined) {
            print(submitted, options, jobs => jobs.map(({ jobId, name }) => `${jobId}  ${name}`).join('\n'));
            return;
          }
          const deadlineSeconds = options.wait === true ? 3600 : positive(options.wait);
          const reports = await waitForJobs(
            session.client,
            submitted.map(({ jobId }) => jobId),
            { deadlineSeconds },
          );
          print([...reports.values()], options, jobs => jobs.map(describeJob).join('\n'));
          if ([...reports.values()].some(({ job }) => job.state !== 'finished'))
            process.exitCode = exitCodes.failed;
        });
      }),
    );

  program
    .command('status [job]')
    .description('List jobs, or show one with its attempts and history.')
    .option(...SITE)
    .option('--state <state>', `only jobs in this state: ${jobStates.join(', ')}`)
    .option('--queue <queue>', 'only jobs of this queue')
    .option('--group <group>', 'only jobs of this group')
    .option('--limit <n>', 'at most this many', positive, 100)
    .option('--cursor <cursor>', 'go on where a list ended')
    .action(
      action<Common & { state?: JobState; queue?: string; group?: string; limit: number; cursor?: string }>(
        async (options, jobId) => {
          await withSession(options.site, async ({ client }) => {
            if (jobId !== undefined) {
              print(await client.call('showJob', { params: { jobId } }), options, describeJob);
              return;
            }
            const { state, queue, group, limit, cursor } = options;
            print(
              await client.call('listJobs', { query: { state, queue, group, limit, cursor } }),
              options,
              describeJobs,
            );
          });
        },
      ),
    );

  program
    .command('pilots')
    .description('Count the working pilots by release version, channel and queue, with what was revoked.')
    .option(...SITE)
    .action(
      action<Common>(async options => {
        await withSession(options.site, async ({ client }) => {
          print(await client.call('releases', {}), options, describeReleases);
        });
      }),
    );

  program
    .command('logs <job>')
    .description(
      "Print a job's output: standard output to standard output, standard error to standard error.",
    )
    .option(...SITE)
    .option('--attempt <id>', 'of this attempt instead of the newest')
    .option('--follow', 'go on printing until the job has ended')
    .action(
      action<Common & { attempt?: string; follow?: boolean }>(async (options, jobId) => {
        await withSession(options.site, async ({ client }) => {
          let out = 0;
          let err = 0;
          for (;;) {
            const ended =
              !options.follow || isFinal((await client.call('showJob', { params: { jobId } })).job.state);
            const log = await client.call('jobLogs', {
              params: { jobId },
              query: { attemptId: options.attempt },
            });
            if (options.json) {
              if (ended) return print(log, options, JSON.stringify);
            } else {
              process.stdout.write(log.stdout.slice(out));
              process.stderr.write(log.stderr.slice(err));
              [out, err] = [log.stdout.length, log.stderr.length];
            }
            if (ended) return undefined;
            await sleep(1000);
          }
        });
      }),
    );

  program
    .command('kill <job>')
    .description('End a job; a running payload is told with the next heartbeat of its pilot.')
    .option(...SITE)
    .option('--reason <text>', 'kept in the history of the job', '')
    .action(
      action<Common & { reason: string }>(async (options, jobId) => {
        await withSession(options.site, async ({ client }) => {
          const reply = await client.call('killJob', {
            params: { jobId },
            body: { reason: options.reason },
          });
          print(reply, options, ({ state }) =>
            isFinal(state) ? `${jobId} is ${state}` : `${jobId} is told to end; it was ${state}`,
          );
        });
      }),
    );
}
