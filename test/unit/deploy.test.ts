import { test } from 'node:test';
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { globSync, readFileSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parse } from 'yaml';
import { temporaryDirectory } from '../lab/temporary.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));
const read = (path: string) => readFileSync(join(root, path), 'utf8');
const METRIC = /pilotage_(?:store|release|cache)_[a-z_]+/g;

/** Directives of a unit, by name; those that are given twice have all their values. */
function directives(unit: string): Map<string, string[]> {
  const found = new Map<string, string[]>();
  for (const line of unit.split('\n')) {
    const [, name, value] = /^([A-Za-z]+)=(.*)$/.exec(line) ?? [];
    if (name !== undefined) found.set(name, [...(found.get(name) ?? []), value!]);
    else assert.match(line, /^(#.*|\[[A-Z][a-z]+\]|)$/, 'no continued line, no stray text');
  }
  return found;
}

const units = globSync('deploy/systemd/*.service', { cwd: root });

test('every service starts at boot, again after its end, and may do no more than it must', () => {
  assert.equal(units.length, 3);
  const users = new Set<string>();
  for (const path of units) {
    const unit = directives(read(path));
    const is = (name: string, ...values: string[]) =>
      assert.deepEqual(unit.get(name), values, `${path} ${name}`);
    is('Restart', 'always');
    is('WantedBy', 'multi-user.target');
    is('NoNewPrivileges', 'yes');
    is('CapabilityBoundingSet', '');
    is('ProtectSystem', 'strict');
    is('ProtectHome', 'yes');
    is('PrivateTmp', 'yes');
    is('RestrictAddressFamilies', 'AF_INET AF_INET6 AF_UNIX');
    is('SystemCallFilter', '@system-service', '~@privileged');
    assert.notEqual(unit.get('User')![0], 'root');
    users.add(unit.get('User')![0]!);
  }
  assert.equal(users.size, units.length, 'who serves has no keys');
  const store = directives(read('deploy/systemd/pilotage-store.service'));
  assert.equal(store.get('ReadWritePaths'), undefined);
  assert.doesNotMatch(store.get('ExecStart')![0]!, /key|passphrase/);
});

test('the commands of the services are commands of the program', () => {
  for (const path of units) {
    const [command] = directives(read(path)).get('ExecStart')!;
    const [, words, options] = /^\/opt\/pilotage\/pilotage ((?:[a-z]+ )+)(--.*)$/.exec(command!)!;
    const help = spawnSync(
      process.execPath,
      [join(root, 'pilotage.ts'), ...words!.trim().split(' '), '--help'],
      {
        encoding: 'utf8',
      },
    );
    assert.equal(help.status, 0, help.stderr);
    for (const [option] of options!.matchAll(/--[a-z-]+/g)) assert.ok(help.stdout.includes(option), option);
  }
});

test('systemd understands the units, where there is one', async t => {
  if (spawnSync('systemd-analyze', ['--version']).error) return t.skip('there is no systemd here');
  const directory = await temporaryDirectory(t, 'units');
  for (const path of units) {
    // It wants the program to be there.
    writeFileSync(
      join(directory, basename(path)),
      read(path).replace('/opt/pilotage/pilotage ', `${process.execPath} `),
    );
  }
  const files = units.map(path => join(directory, basename(path)));
  const { status, stderr } = spawnSync('systemd-analyze', ['verify', ...files], { encoding: 'utf8' });
  assert.equal(status, 0, stderr);
  assert.equal(stderr, '');
});

test('docs/reference/metrics.md has every metric of the code, and the alert rules ask for no other', () => {
  const sources = [
    'codecache/origin/store-metrics.ts',
    'codecache/proxy/operations/cache-metrics.ts',
    'signing/release/refresh/serve-refresh.ts',
  ];
  const inCode = new Set(sources.flatMap(path => read(path).match(METRIC)!));
  const documented = read('docs/reference/metrics.md').matchAll(/^\| `(pilotage_[a-z_]+)`/gm);
  assert.deepEqual(new Set([...documented].map(([, name]) => name!)), inCode);

  interface Rules {
    groups: { rules: { alert: string; expr: string; for: string; annotations: { summary: string } }[] }[];
  }
  const files = globSync('deploy/prometheus/*.yaml', { cwd: root });
  assert.equal(files.length, 2);
  const rules = files.flatMap(file => (parse(read(file)) as Rules).groups.flatMap(group => group.rules));
  assert.ok(rules.length > 12);
  for (const { alert, expr, for: wait, annotations } of rules) {
    const asked = expr.match(METRIC) ?? [];
    assert.ok(asked.length > 0, alert);
    for (const metric of asked) assert.ok(inCode.has(metric), `${alert}: ${metric}`);
    assert.match(wait, /^\d+[mh]$/);
    assert.ok(annotations.summary.length > 20, alert);
  }
});
