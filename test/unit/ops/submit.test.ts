import { test } from 'node:test';
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { ApiClient } from '../../../lib/api-client.ts';
import type { PilotageError } from '../../../lib/errors.ts';
import { JobDefinition } from '../../../lib/protocol/job.ts';
import type { RequestBody } from '../../../lib/protocol.ts';
import { describeInput, submit } from '../../../ops/client/submit.ts';
import type { Session } from '../../../ops/client/session.ts';
import { table } from '../../../ops/table.ts';

/** A session whose server takes everything and remembers it. */
function session(): Session & { taken: RequestBody<'submit'>['jobs'] } {
  const taken: RequestBody<'submit'>['jobs'] = [];
  const call = async (_: string, { body }: { body: RequestBody<'submit'> }) => {
    taken.push(...body.jobs);
    return { jobs: body.jobs.map(({ jobId }) => ({ jobId })) };
  };
  return {
    taken,
    client: { call, close: async () => undefined } as unknown as ApiClient,
    config: { servers: [], ca: '', cert: '', key: '', vo: 'demo', queue: 'q1', outputs: '/srv/out' },
  };
}

async function withFile(text: string, use: (path: string) => Promise<void>): Promise<void> {
  const directory = await mkdtemp(join(tmpdir(), 'pilotage-submit-'));
  try {
    const path = join(directory, 'in put.txt');
    await writeFile(path, text);
    await use(path);
  } finally {
    await rm(directory, { recursive: true });
  }
}

test('a job from options has the defaults of the site and checksummed inputs', () =>
  withFile('abc', async path => {
    const at = session();
    const [job] = await submit(at, ['sh', 'run.sh'], {
      input: [`data=${path}`],
      output: ['a.txt'],
      wall: 60,
      memory: 512,
    });
    const definition = JobDefinition.parse(at.taken[0]!.definition);
    assert.equal(job!.name, 'sh');
    assert.equal(definition.vo, 'demo');
    assert.equal(definition.queue, 'q1');
    assert.equal(definition.outputUrl, 'file:///srv/out');
    assert.equal(definition.limits.memoryBytes, 512 * 2 ** 20);
    assert.deepEqual(definition.inputs, [
      {
        name: 'data',
        url: pathToFileURL(path).href,
        sha256: createHash('sha256').update('abc').digest('hex'),
        bytes: 3,
      },
    ]);
  }));

test('a remote input needs its sha256, and is named by its path', async () => {
  const sha256 = 'a'.repeat(64);
  assert.deepEqual(await describeInput(`https://host/dir/x.dat#${sha256}`), {
    name: 'x.dat',
    url: 'https://host/dir/x.dat',
    sha256,
  });
  await assert.rejects(describeInput('https://host/x.dat'), { code: 'E_FILE_MISSING' });
});

test('nothing to run, a missing file and a wrong job file are refused with words', async () => {
  await assert.rejects(submit(session(), [], {}), { code: 'E_JOB_FILE' });
  await assert.rejects(submit(session(), ['true'], { input: ['/nonexistent/x'] }), {
    code: 'E_FILE_MISSING',
    where: '/nonexistent/x',
  });
  for (const text of ['command: true', '- command: []', '[1', 'limits: {wallSeconds: 0}\ncommand: [a]']) {
    await withFile(text, path =>
      assert.rejects(
        submit(session(), [], { file: path }),
        (error: PilotageError) => error.code === 'E_JOB_FILE' && error.where === path,
      ),
    );
  }
});

test('a job file with a list submits them all at once', () =>
  withFile(
    '- {name: a, command: [true]}\n- {name: b, command: [date], queue: other}\n'.replaceAll(
      '[true]',
      '["true"]',
    ),
    async path => {
      const at = session();
      const jobs = await submit(at, [], { file: path });
      assert.deepEqual(
        jobs.map(({ name }) => name),
        ['a', 'b'],
      );
      assert.deepEqual(
        at.taken.map(({ definition }) => definition.queue),
        ['q1', 'other'],
      );
    },
  ));

test('a table is as wide as its widest cells', () => {
  assert.equal(
    table(
      ['a', 'note'],
      [
        ['xyz', 'long text'],
        ['', 'b'],
      ],
    ),
    'a    note\n---  ---------\nxyz  long text\n     b',
  );
});
