import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { basename, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { parse as parseYaml } from 'yaml';
import * as z from 'zod';
import { fromSystemError } from '../../lib/errors.ts';
import { readTextBounded } from '../../lib/files.ts';
import { newId } from '../../lib/ids.ts';
import { JobDefinition } from '../../lib/protocol/job.ts';
import type { JobDefinitionInput } from '../../lib/protocol/job.ts';
import { opsError } from '../errors.ts';
import type { Session } from './session.ts';

export interface SubmitOptions {
  name?: string;
  queue?: string;
  group?: string;
  input?: string[];
  output?: string[];
  outputUrl?: string;
  wall?: number;
  memory?: number;
  label?: JobDefinition['label'];
  file?: string;
}

export interface Submitted {
  jobId: string;
  name: string;
}

/**
 * Submits one job from command-line options, or those of a YAML file (`--file`: one definition or a list of them). Inputs
 * that are files of this machine are checksummed here, so that the pilot can prove it read the same bytes.
 *
 * @throws E_JOB_FILE, E_FILE_MISSING; the server's refusal with its rule.
 */
export async function submit(
  { client, config }: Session,
  command: string[],
  options: SubmitOptions,
): Promise<Submitted[]> {
  const defaults = {
    vo: config.vo,
    queue: options.queue ?? config.queue,
    outputUrl: options.outputUrl ?? asUrl(config.outputs),
  };
  const definitions =
    options.file === undefined ? [await fromOptions(command, options)] : await fromFile(options.file);
  const jobs = definitions.map(definition => ({
    jobId: newId(),
    definition: { ...defaults, ...definition } as JobDefinitionInput,
  }));
  const reply = await client.call('submit', { body: { jobs } });
  return reply.jobs.map(({ jobId }, index) => ({ jobId, name: jobs[index]!.definition.name ?? 'job' }));
}

async function fromOptions(command: string[], options: SubmitOptions): Promise<Partial<JobDefinitionInput>> {
  if (command.length === 0) {
    throw opsError({
      code: 'E_JOB_FILE',
      message: 'There is nothing to run.',
      expected: 'a command behind --, or --file JOBS.yaml',
      fix: 'For example: pilotage submit -- sh -c "echo hello"',
    });
  }
  return {
    name: options.name ?? basename(command[0]!),
    command,
    ...(options.group !== undefined && { group: options.group }),
    ...(options.label !== undefined && { label: options.label }),
    inputs: await Promise.all((options.input ?? []).map(describeInput)),
    outputs: (options.output ?? []).map(name => ({ name })),
    limits: {
      ...(options.wall !== undefined && { wallSeconds: options.wall }),
      ...(options.memory !== undefined && { memoryBytes: options.memory << 20 }),
    },
  };
}

const JobFile = z.preprocess(
  value => (Array.isArray(value) ? value : [value]),
  z.array(JobDefinition.partial()).min(1).max(1000),
);

async function fromFile(file: string): Promise<Partial<JobDefinitionInput>[]> {
  let value: unknown;
  try {
    value = parseYaml(await readTextBounded(file, 16 << 20));
  } catch (error) {
    if ((error as { code?: string }).code?.startsWith('E_')) throw error;
    throw jobFileError(file, (error as Error).message.split('\n')[0]!);
  }
  const parsed = JobFile.safeParse(value);
  if (!parsed.success) {
    const issue = parsed.error.issues[0]!;
    throw jobFileError(file, `job ${issue.path.join('.')}: ${issue.message}`);
  }
  return parsed.data;
}

const jobFileError = (where: string, found: string) =>
  opsError({
    code: 'E_JOB_FILE',
    message: `The job file is not valid: ${found}.`,
    where,
    expected: 'one job definition or a list of them, as docs/reference/openapi.json describes',
    fix: 'Correct the named field.',
  });

/** `FILE`, `NAME=FILE` or `NAME=URL#sha256` as an input of a job. */
export async function describeInput(
  argument: string,
): Promise<{ name: string; url: string; sha256: string; bytes?: number }> {
  const [, given, source = argument] = /^([^=/]+)=(.*)$/.exec(argument) ?? [];
  const remote = /^(https?:\/\/[^#]+)#([0-9a-f]{64})$/.exec(source);
  if (remote)
    return { name: given ?? basename(new URL(remote[1]!).pathname), url: remote[1]!, sha256: remote[2]! };
  const path = resolve(source);
  return { name: given ?? basename(path), url: pathToFileURL(path).href, ...(await measure(path)) };
}

async function measure(path: string): Promise<{ sha256: string; bytes: number }> {
  const hash = createHash('sha256');
  try {
    for await (const chunk of createReadStream(path)) hash.update(chunk as Buffer);
    return { sha256: hash.digest('hex'), bytes: (await stat(path)).size };
  } catch (error) {
    throw fromSystemError(error, path);
  }
}

const asUrl = (place: string): string => (/^[a-z]+:\/\//.test(place) ? place : pathToFileURL(place).href);
