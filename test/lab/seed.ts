import { configureGlobal } from 'fast-check';

/**
 * Loaded before every test file: property tests draw from one known seed, so that a run can be repeated and a change is not
 * blamed for a draw. `npm run test:explore` looks elsewhere; PILOTAGE_TEST_SEED repeats one of its rounds.
 */
configureGlobal({ seed: Number(process.env.PILOTAGE_TEST_SEED ?? 20_261_122) });
