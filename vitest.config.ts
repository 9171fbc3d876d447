import { defineConfig } from 'vitest/config'

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
    maxWorkers: 2,
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
