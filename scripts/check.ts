import { spawnSync } from 'node:child_process';

/** `npm run check`: types, lint, format; each prints only what is wrong. */
const checks = [
  ['types', ['node_modules/typescript/bin/tsc', '-p', '.']],
  ['lint', ['node_modules/oxlint/bin/oxlint', '--type-aware', '--deny-warnings', '.']],
  ['format', ['node_modules/prettier/bin/prettier.cjs', '--check', '--log-level=warn', '.']],
] as const;

let failed = false;
for (const [name, args] of checks) {
  const result = spawnSync(process.execPath, args, { stdio: ['ignore', 'pipe', 'pipe'], encoding: 'utf8' });
  const ok = result.status === 0;
  failed ||= !ok;
  process.stdout.write(`check ${name}: ${ok ? 'ok' : 'FAILED'}\n`);
  if (!ok) process.stdout.write(result.stdout + result.stderr);
}
process.exitCode = failed ? 1 : 0;
