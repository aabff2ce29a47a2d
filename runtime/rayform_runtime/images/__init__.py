"""Step images: build context, Docker builder, registries."""
