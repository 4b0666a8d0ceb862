import { defineConfig } from "vite";

// Names without hashes: the files are committed, and the server forbids keeping them.
export default defineConfig({
  base: "./",
  build: {
    outDir: "../foveal_runtime/http/pages",
    emptyOutDir: true,
    target: "es2022",
    modulePreload: false,
    rollupOptions: {
      output: { entryFileNames: "console.js", assetFileNames: "console[extname]" },
    },
  },
});
