import { Command } from 'commander';
import { register } from '../../../autopilot/cli.ts';

/** The autopilot's own commands as pilotage.ts mounts them, without loading every other folder. */
const program = new Command('pilotage').option('--json', 'print JSON');
register(program);
await program.parseAsync();
