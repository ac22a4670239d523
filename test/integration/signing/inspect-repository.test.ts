import assert from 'node:assert/strict';
import { cp, readFile, readdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { systemClock } from '../../../lib/clock.ts';
import { inspectRepository } from '../../../signing/release/repository/inspect-repository.ts';
import { raisePast } from '../../../signing/release/mirror/recover.ts';
import type { ReleaseContext } from '../../../signing/release/repository/repository.ts';
import { fileStorage } from '../../../signing/release/storage/file-storage.ts';
import { releaseCommand } from '../../lab/release-command.ts';
import { makeReleaseRepository, type ReleaseRepositoryLab } from '../../lab/release-repository.ts';
import { amendPointer } from '../../lab/revoke.ts';
import { makeTemporaryDirectory } from '../../lab/temporary.ts';

let directory: string;
let remove: () => Promise<void>;
let lab: ReleaseRepositoryLab;
before(async () => {
  ({ path: directory, remove } = await makeTemporaryDirectory('inspect'));
  lab = await makeReleaseRepository({ directory });
});
after(() => remove());

let copies = 0;
/** A copy of the repository to spoil. */
async function copyOf(): Promise<{ context: ReleaseContext; root: string }> {
  const root = join(directory, `copy-${(copies += 1)}`);
  await cp(lab.directory, root, { recursive: true });
  return { context: { ...lab.context, storage: fileStorage(root) }, root };
}

const problemsOf = async (context: ReleaseContext) => (await inspectRepository(context)).status.problems;
const daysLater = (context: ReleaseContext, days: number): ReleaseContext => ({
  ...context,
  clock: { ...systemClock, now: () => Date.now() + days * 86_400_000 },
});

test('a repository in order has no problems, only work to come when the time comes', async () => {
  assert.deepEqual(await problemsOf(lab.context), []);
  const soon = await problemsOf(daysLater(lab.context, 0.6));
  assert.deepEqual(
    soon.map(({ code, where, fix, severity }) => [code, where, fix, severity]),
    [['role-due', 'timestamp', 'pilotage release refresh', 'advice']],
  );
  const later = await problemsOf(daysLater(lab.context, 41));
  const of = (code: string) => later.filter(problem => problem.code === code).map(({ where }) => where);
  assert.deepEqual(of('E_TUF_EXPIRED').sort(), [
    'role canary',
    'role dev',
    'role snapshot',
    'role timestamp',
    'role trust',
  ]);
  assert.deepEqual(of('role-due').sort(), ['queues', 'stable']);
  assert.match(later.find(({ where }) => where === 'stable')!.fix, /^pilotage release resign stable/);
});

test('every fault is named with its file and what helps; one does not hide the next', async () => {
  const { context, root } = await copyOf();
  const targets = join(root, 'public/targets');
  const files = (await readdir(targets, { recursive: true })).filter(name => name.endsWith('.gz'));
  const [pilot, runtime] = [
    files.find(name => name.includes('pilot-'))!,
    files.find(name => name.includes('node-'))!,
  ];
  await rm(join(targets, pilot));
  const bytes = await readFile(join(targets, runtime));
  bytes[9]! ^= 1;
  await writeFile(join(targets, runtime), bytes);
  const log = join(root, 'public/log.jsonl');
  await writeFile(log, (await readFile(log, 'utf8')).replace('"action":"add"', '"action":"odd"'));
  const problems = await problemsOf(context);
  assert.deepEqual(
    problems.map(({ code, where, severity }) => [code, where, severity]),
    [
      ['E_LOG_TAMPERED', log, 'error'],
      ['E_FILE_MISSING', join(targets, pilot), 'error'],
      ['E_TARGET_HASH', join(targets, runtime), 'error'],
    ],
  );
  for (const { fix } of problems) assert.match(fix, /^pilotage release recover --from/);
  const damaged = await copyOf();
  await rm(join(damaged.root, 'public/metadata/3.releases.json'));
  const [first] = await problemsOf(damaged.context);
  assert.match(
    `${first?.code} ${first?.where} ${first?.fix}`,
    /^E_FILE_MISSING .*3\.releases\.json .*recover/,
  );
});

test('what waits, what was withdrawn and what clients refuse is said', async () => {
  await amendPointer(lab, 'dev', { yanked: ['1.0.0'] });
  await lab.addPilot('1.1.0');
  await raisePast({ ...lab.context, past: 'canary=30' });
  const problems = await problemsOf(lab.context);
  assert.deepEqual(
    problems.map(({ code, severity }) => [code, severity]),
    [
      ['staged', 'advice'],
      ['behind-seen', 'advice'],
      ['current-withdrawn', 'advice'],
    ],
  );
  assert.match(problems[2]!.fix, /^pilotage release promote VERSION dev/);
});

test('the exit code is 1 when something is wrong, 0 when there is only work to come', async () => {
  const run = await releaseCommand(directory);
  const good = await run(['verify', '--repo', lab.directory, '--json']);
  assert.equal(good.code, 0, good.stderr);
  assert.equal((JSON.parse(good.stdout) as { problems: unknown[] }).problems.length, 3);
  const { root } = await copyOf();
  await rm(join(root, 'public/targets/pilot'), { recursive: true });
  const bad = await run(['verify', '--repo', root]);
  assert.equal(bad.code, 1);
  assert.match(bad.stdout, /^NOT in order: 1 error\.$/m);
  assert.match(bad.stdout, /^ {2}do: pilotage release recover/m);
});
