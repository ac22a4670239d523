import { Command } from 'commander';
import { lostOutput, reportError } from './lib/cli.ts';
import { endWithParent } from './lib/shutdown.ts';
import { buildVersion } from './lib/build-version.ts';
import { asksForJson, usageErrors } from './lib/usage-errors.ts';

/** Composition root: which folder has which commands. Nothing else in the product knows all folders but ops. */
const folders: Record<string, readonly string[]> = {
  ops: ['demo', 'up', 'submit', 'status', 'logs', 'kill'],
  signing: ['release', 'cert', 'trust'],
  codecache: ['store', 'cache', 'trust'],
  server: ['server', 'db'],
  autopilot: ['autopilot'],
  agent: ['agent'],
};

const program = new Command('pilotage')
  .description(
    'Signed pilot code, caches, autopilot, pilots and dispatcher of a pilot-based workload system.',
  )
  .version(buildVersion)
  .option('--json', 'print results and errors as JSON')
  .configureHelp({ showGlobalOptions: true });
const json = asksForJson(process.argv.slice(2));
usageErrors(program, json);

// Only the folder of the command that was named is loaded; all of them for help and for a name that none has.
const named = process.argv.slice(2).find(argument => !argument.startsWith('-')) ?? '';
const wanted = Object.keys(folders).filter(folder => folders[folder]!.includes(named));
for (const folder of wanted.length > 0 ? wanted : Object.keys(folders)) {
  const { register } = (await import(`./${folder}/cli.ts`)) as { register: (program: Command) => void };
  register(program);
}

if (process.env.PILOTAGE_END_WITH_PARENT) {
  delete process.env.PILOTAGE_END_WITH_PARENT;
  endWithParent();
}
process.stdout.on('error', lostOutput);
try {
  await program.parseAsync();
} catch (error) {
  reportError(error, json);
}
