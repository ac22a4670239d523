import { access, chmod, constants, open, stat } from 'node:fs/promises';
import { delimiter, isAbsolute, join } from 'node:path';
import { agentError } from './errors.ts';

/**
 * Finds the program of a payload: in its work directory first, then on PATH. A file that was staged in under that name
 * is made executable, because inputs come without a mode.
 *
 * @throws E_PAYLOAD_NOT_STARTED naming the command, where it was looked for and what is wrong with it.
 */
export async function findCommand(command: string, workDirectory: string, path: string): Promise<string> {
  const candidates = isAbsolute(command)
    ? [command]
    : [
        join(workDirectory, command),
        ...(command.includes('/') ? [] : path.split(delimiter).map(directory => join(directory, command))),
      ];
  for (const candidate of candidates) {
    const found = await stat(candidate).catch(() => undefined);
    if (!found?.isFile()) continue;
    if (candidate === candidates[0] && !isAbsolute(command)) await chmod(candidate, found.mode | 0o500);
    if (await isExecutable(candidate)) {
      await checkInterpreter(candidate);
      return candidate;
    }
    if (isAbsolute(command)) throw notStarted(command, 'The command is not executable.', candidate);
  }
  throw notStarted(command, 'There is no such command.', `the work directory, then ${path}`);
}

const isExecutable = (path: string): Promise<boolean> =>
  access(path, constants.X_OK).then(
    () => true,
    () => false,
  );

/** A script whose `#!` names no program would only fail after the start, with an exit code that says nothing. */
async function checkInterpreter(path: string): Promise<void> {
  const file = await open(path, 'r').catch(() => undefined);
  if (!file) return;
  try {
    const { buffer, bytesRead } = await file.read(Buffer.alloc(256), 0, 256, 0);
    const interpreter = /^#![ \t]*(\S+)/.exec(buffer.toString('latin1', 0, bytesRead))?.[1];
    if (interpreter !== undefined && !(await isExecutable(interpreter))) {
      throw notStarted(path, `Its first line names an interpreter that is not there: ${interpreter}.`, path);
    }
  } finally {
    await file.close();
  }
}

const notStarted = (command: string, message: string, where: string) =>
  agentError({
    code: 'E_PAYLOAD_NOT_STARTED',
    message: `${message.replace(/\.$/, '')}: "${command.slice(0, 200)}".`,
    where,
    fix: 'Check the command and that its file is executable.',
  });

/** What a payload is told besides the job's own environment. */
export interface PayloadEnvironment {
  jobId: string;
  attemptId: string;
  attemptNumber: number;
  instance: string;
  cores: number;
  workDirectory: string;
  temporaryDirectory: string;
  path: string;
  credentialFile: string | undefined;
  servers: readonly string[];
  serverCaFile: string;
  /** Where authorities are, on a node that has none of its own. */
  trust: Readonly<Record<string, string>>;
}

/**
 * The payload's environment, built from nothing: no variable of the pilot's own. The job's variables may replace PATH,
 * HOME, TMPDIR and where authorities are, never those that begin with PILOTAGE_ or name the credential.
 */
export function payloadEnvironment(
  facts: PayloadEnvironment,
  own: Readonly<Record<string, string>>,
): Record<string, string> {
  return {
    PATH: facts.path,
    HOME: facts.workDirectory,
    TMPDIR: facts.temporaryDirectory,
    LANG: 'C.UTF-8',
    ...facts.trust,
    ...own,
    PILOTAGE_JOB_ID: facts.jobId,
    ...attemptMark(facts.attemptId),
    PILOTAGE_ATTEMPT_NUMBER: String(facts.attemptNumber),
    PILOTAGE_INSTANCE: facts.instance,
    PILOTAGE_CORES: String(facts.cores),
    PILOTAGE_SERVERS: facts.servers.join(' '),
    PILOTAGE_SERVER_CA: facts.serverCaFile,
    ...(facts.credentialFile !== undefined && { X509_USER_PROXY: facts.credentialFile }),
  };
}

/** The variable by which processes of an attempt are found after they left its process group. */
export const attemptMark = (attemptId: string): { PILOTAGE_ATTEMPT: string } => ({
  PILOTAGE_ATTEMPT: attemptId,
});
