import { defineConfig } from 'vitest/config'
import { BaseSequencer, type TestSpecification } from 'vitest/node'

/** Files that take longest. They start first, so that none of them runs on alone at the end. */
const SLOWEST = [
  'readme',
  'governor',
  'packages',
  'bench',
  'swarm',
  'swarm-chaos',
  'swarm-resume',
  'box',
  'park/http-ends',
  'park/http-listen',
  'examples',
  'park/http-limits'
].map((name) => `/test/${name}.test.ts`)

class SlowestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const place = ({ moduleId }: TestSpecification): number => {
      const found = SLOWEST.findIndex((path) => moduleId.endsWith(path))
      return found === -1 ? SLOWEST.length : found
    }
    return (await super.sort(files)).sort((a, b) => place(a) - place(b))
  }
}

/** Counting coverage takes memory, so tests that measure the heap are left out. */
const counted = process.argv.includes('--coverage') ? { testNamePattern: /^(?!.*makes no object that stays)/ } : {}

export default defineConfig({
  test: {
    ...counted,
    include: ['packages/*/src/**/*.test.ts', 'test/**/*.test.ts', 'bench/harness/*.test.mjs'],
    setupFiles: ['test/support/audit.ts'],
    // Real processes under real load on few cores: the time limit is there to end a test that hangs.
    testTimeout: 60_000,
    hookTimeout: 60_000,
    expect: { poll: { timeout: 30_000 } },
    pool: 'forks',
    // Most files wait for processes, timers and sockets: together they use a fifth of a core.
    maxWorkers: 4,
    sequence: { sequencer: SlowestFirst },
    // `npm run coverage`. What tests run as a process of its own (the command line, servers) is not counted.
    coverage: {
      provider: 'v8',
      include: ['packages/*/src/**/*.ts'],
      exclude: ['**/*.test.ts', '**/testing/**'],
      reportOnFailure: true,
      reporter: ['text-summary', 'html', 'json-summary']
    }
  }
})
